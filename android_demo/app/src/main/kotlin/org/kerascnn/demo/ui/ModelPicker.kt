package org.kerascnn.demo.ui

import android.app.Activity
import android.app.AlertDialog
import android.view.View
import android.view.ViewGroup
import android.widget.BaseAdapter
import android.widget.TextView
import kotlin.concurrent.thread
import org.kerascnn.demo.R

/** The dialogs that choose a model and tell about it. */
class ModelPicker(private val activity: Activity, private val catalogue: Catalogue) {
    /** Show all models; their descriptions follow as they are read. */
    fun choose(onChoice: (ModelFile) -> Unit, onOpen: () -> Unit): AlertDialog {
        val files = catalogue.files()
        val rows = Rows(files)
        val dialog = AlertDialog.Builder(activity)
            .setTitle(R.string.choose_model)
            .setAdapter(rows) { _, at -> files.getOrNull(at)?.let(onChoice) ?: onOpen() }
            .setNegativeButton(R.string.close, null)
            .show()
        thread(name = "descriptions") {
            for ((at, file) in files.withIndex()) {
                val entry = catalogue.entry(file)
                activity.runOnUiThread { rows.fill(at, entry) }
            }
        }
        return dialog
    }

    private inner class Rows(private val files: List<ModelFile>) : BaseAdapter() {
        private val entries = arrayOfNulls<Catalogue.Entry>(files.size)

        fun fill(at: Int, entry: Catalogue.Entry) {
            entries[at] = entry
            notifyDataSetChanged()
        }

        override fun getCount() = files.size + 1

        override fun getItem(at: Int): Any? = entries.getOrNull(at)

        override fun getItemId(at: Int) = at.toLong()

        override fun getView(at: Int, old: View?, parent: ViewGroup): View {
            val row = old ?: activity.layoutInflater.inflate(R.layout.model_row, parent, false)
            val title = row.part<TextView>(R.id.title)
            val subtitle = row.part<TextView>(R.id.subtitle)
            val entry = entries.getOrNull(at)
            subtitle.visibility = if (at < files.size) View.VISIBLE else View.GONE
            title.text = when {
                at == files.size -> activity.getString(R.string.open_file)
                else -> entry?.title ?: files[at].name(activity)
            }
            subtitle.text = entry?.subtitle(activity.resources) ?: activity.getString(R.string.reading)
            subtitle.setTextColor(
                activity.getColor(if (entry?.problem == null) R.color.muted else R.color.warning),
            )
            return row
        }
    }

    /** Show what a file says of itself. */
    fun about(ready: Session.State.Ready, onRemove: () -> Unit): AlertDialog {
        val (file, description) = ready.file to ready.description
        val builder = AlertDialog.Builder(activity)
            .setTitle(description.name.ifEmpty { Catalogue.titleOf(description) })
            .setMessage(facts(ready))
            .setPositiveButton(R.string.close, null)
        if (file is ModelFile.Opened) {
            builder.setNeutralButton(R.string.remove) { _, _ -> onRemove() }
        }
        return builder.show()
    }

    private fun facts(ready: Session.State.Ready): String {
        val description = ready.description
        val colour = if (description.input.channels == 1) R.string.colour_grey else R.string.colour_rgb
        val labels = description.labels.take(SOME_LABELS).joinToString(", ") +
            if (description.labels.size > SOME_LABELS) ", …" else ""
        val size = activity.getString(R.string.megabytes, Numbers.megabytes(ready.bytes))
        val selfTest = ready.selfTest?.let { SelfTests.long(activity.resources, it, ready.setup) }
            ?: activity.getString(R.string.selftest_none)
        return listOf(
            R.string.field_description to description.description,
            R.string.field_task to activity.getString(Catalogue.taskName(description.task)),
            R.string.field_network to description.model,
            R.string.field_variant to description.variant,
            R.string.field_input to activity.getString(
                R.string.input_size,
                description.input.width.toString(),
                description.input.height.toString(),
                activity.getString(colour),
            ),
            R.string.field_labels to
                activity.getString(R.string.labels_few, description.labels.size.toString(), labels),
            R.string.field_file to "${ready.file.name(activity)}, $size",
            R.string.field_author to description.author,
            R.string.field_licence to description.license,
            R.string.field_version to description.version,
            R.string.selftest to selfTest,
        ).filter { (_, value) -> value.isNotBlank() }
            .joinToString("\n\n") { (name, value) -> "${activity.getString(name)}\n$value" }
    }

    private companion object {
        const val SOME_LABELS = 12
    }
}
