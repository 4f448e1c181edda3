package org.kerascnn.demo.ui

import android.view.View
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Spinner
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Accelerator

/**
 * The spinners of layout/runtime_choice.xml, kept in the preferences.
 *
 * @param onChange is called after the user chose otherwise.
 */
class RuntimeChoice(
    root: View,
    private val preferences: Preferences,
    private val onChange: (Setup) -> Unit,
) {
    private val threads = root.part<Spinner>(R.id.threads)
    private val accelerator = root.part<Spinner>(R.id.accelerator)

    /** Whether another choice can be made now. */
    var enabled = true
        set(value) {
            field = value
            enable()
        }

    init {
        val context = root.context
        val setup = preferences.setup
        val counts = (1..Preferences.mostThreads()).toList()
        choose(threads, counts.map(Int::toString), counts.indexOf(setup.threads)) {
            change(preferences.setup.copy(threads = counts[it]))
        }
        val kinds = Accelerator.entries
        val names = kinds.map { context.getString(if (it == Accelerator.GPU) R.string.gpu else R.string.cpu) }
        choose(accelerator, names, kinds.indexOf(setup.accelerator)) {
            change(preferences.setup.copy(accelerator = kinds[it]))
        }
        enable()
    }

    private fun change(setup: Setup) {
        if (setup == preferences.setup) return
        preferences.setup = setup
        enable()
        onChange(setup)
    }

    private fun enable() {
        accelerator.isEnabled = enabled
        threads.isEnabled = enabled && preferences.setup.accelerator == Accelerator.CPU
    }

    companion object {
        /** Fill a spinner and hear of what is chosen, the first choice too. */
        fun choose(spinner: Spinner, names: List<String>, chosen: Int, onChoice: (Int) -> Unit) {
            val adapter = ArrayAdapter(spinner.context, android.R.layout.simple_spinner_item, names)
            adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item)
            spinner.adapter = adapter
            spinner.setSelection(chosen.coerceAtLeast(0))
            spinner.onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
                override fun onItemSelected(parent: AdapterView<*>?, view: View?, at: Int, id: Long) =
                    onChoice(at)

                override fun onNothingSelected(parent: AdapterView<*>?) = Unit
            }
        }
    }
}
