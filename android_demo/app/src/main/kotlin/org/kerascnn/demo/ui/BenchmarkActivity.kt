package org.kerascnn.demo.ui

import android.app.Activity
import android.app.AlertDialog
import android.content.ActivityNotFoundException
import android.content.ClipData
import android.content.Intent
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.view.Gravity
import android.view.View
import android.view.WindowManager
import android.widget.Button
import android.widget.CheckBox
import android.widget.ProgressBar
import android.widget.TableLayout
import android.widget.TableRow
import android.widget.TextView
import org.kerascnn.demo.R

/** Time, size and accuracy of all models, side by side on this phone. */
class BenchmarkActivity : Activity() {
    private lateinit var preferences: Preferences
    private lateinit var work: BenchmarkWork
    private lateinit var runtime: RuntimeChoice
    private var dialog: AlertDialog? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_benchmark)
        drawEdgeToEdge(part(R.id.root))
        preferences = Preferences(this)
        work = lastNonConfigurationInstance as? BenchmarkWork
            ?: BenchmarkWork(applicationContext, Catalogue(applicationContext, preferences))
        runtime = RuntimeChoice(part(R.id.root), preferences) {}
        RuntimeChoice.choose(
            part(R.id.seconds),
            Preferences.SECONDS.map(Int::toString),
            Preferences.SECONDS.indexOf(preferences.seconds),
        ) { preferences.seconds = Preferences.SECONDS[it] }
        part<View>(R.id.back).setOnClickListener { finish() }
        part<View>(R.id.folder).setOnClickListener { chooseFolder() }
        part<View>(R.id.measure).setOnClickListener { measureOrStop() }
        part<View>(R.id.share).setOnClickListener { share() }
        work.listener = ::show
        show()
    }

    override fun onStop() {
        if (!isChangingConfigurations) work.leave()
        super.onStop()
    }

    override fun onDestroy() {
        dialog?.dismiss()
        work.listener = null
        if (!isChangingConfigurations) work.close()
        super.onDestroy()
    }

    override fun onRetainNonConfigurationInstance(): Any = work

    // What the user does

    private fun chooseFolder() {
        try {
            startActivityForResult(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), ASK_FOLDER)
        } catch (_: ActivityNotFoundException) {
            tell(getString(R.string.problem_no_chooser))
        }
    }

    override fun onActivityResult(code: Int, result: Int, data: Intent?) {
        super.onActivityResult(code, result, data)
        val tree = data?.data
        if (code != ASK_FOLDER || result != RESULT_OK || tree == null) return
        try {
            contentResolver.takePersistableUriPermission(tree, Intent.FLAG_GRANT_READ_URI_PERMISSION)
        } catch (_: SecurityException) {
            // Good until the app ends.
        }
        preferences.folder = tree
        show()
    }

    private fun measureOrStop() {
        if (work.running) {
            work.stop()
        } else if (work.rows.none { it.chosen && it.entry?.problem == null }) {
            tell(getString(R.string.nothing_measured))
        } else {
            val folder = preferences.folder?.let { LabelledFolder(applicationContext, it) }
            work.start(preferences.setup, preferences.seconds, folder)
        }
        show()
    }

    private fun share() {
        val csv = work.csv() ?: return tell(getString(R.string.nothing_measured))
        val uri = ResultsProvider.write(this, csv)
        val intent = Intent(Intent.ACTION_SEND)
            .setType(ResultsProvider.MIME)
            .putExtra(Intent.EXTRA_STREAM, uri)
            .putExtra(Intent.EXTRA_SUBJECT, getString(R.string.share_subject, Build.MODEL))
            .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
        // Only what lies in the clip is granted by way of a chooser.
        intent.clipData = ClipData.newRawUri(null, uri)
        startActivity(Intent.createChooser(intent, getString(R.string.share_csv)))
    }

    // What is shown

    private fun show() {
        runtime.enabled = !work.running
        for (id in listOf(R.id.folder, R.id.seconds)) part<View>(id).isEnabled = !work.running
        val accuracyOf = preferences.folder
        part<TextView>(R.id.folder_text).text = if (accuracyOf == null) {
            getString(R.string.labelled_folder)
        } else {
            getString(R.string.labelled_folder_named, folderName(accuracyOf))
        }
        showProgress()
        showTable()
    }

    private fun folderName(tree: Uri): String = LabelledFolder(this, tree).name

    private fun showProgress() {
        val button = part<Button>(R.id.measure)
        button.setText(if (work.running) R.string.stop else R.string.measure)
        val bar = part<ProgressBar>(R.id.progress)
        bar.visibility = if (work.running) View.VISIBLE else View.GONE
        bar.progress = (bar.max * work.share).toInt()
        val text = work.progress?.text(resources).orEmpty()
        part<TextView>(R.id.progress_text).text = text
        val keep = WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON
        if (work.running) window.addFlags(keep) else window.clearFlags(keep)
    }

    private fun showTable() {
        val table = part<TableLayout>(R.id.table)
        if (table.childCount != work.rows.size + 1) fillTable(table)
        for ((at, row) in work.rows.withIndex()) fillRow(table.getChildAt(at + 1) as TableRow, row)
        val problems = work.rows.mapNotNull { row -> row.note?.text(resources) }
        part<TextView>(R.id.table_note).text =
            (problems + getString(R.string.table_note)).joinToString("\n\n")
    }

    private fun fillTable(table: TableLayout) {
        table.removeAllViews()
        val heads = TableRow(this)
        heads.addView(View(this))
        val names = listOf(
            R.string.column_model,
            R.string.column_size,
            R.string.column_median,
            R.string.column_p95,
            R.string.column_accuracy,
            R.string.selftest,
        )
        for ((at, name) in names.withIndex()) {
            heads.addView(cell(at > 0).apply {
                setText(name)
                setTextColor(getColor(R.color.muted))
            })
        }
        table.addView(heads)
        for (row in work.rows) {
            val line = TableRow(this).apply { gravity = Gravity.CENTER_VERTICAL }
            val box = CheckBox(this).apply {
                minimumWidth = resources.getDimensionPixelSize(R.dimen.touch)
                minimumHeight = resources.getDimensionPixelSize(R.dimen.touch)
                isChecked = row.chosen
                setOnCheckedChangeListener { _, checked -> row.chosen = checked }
            }
            line.addView(box)
            for (at in names.indices) line.addView(cell(at > 0))
            table.addView(line)
        }
    }

    private fun fillRow(line: TableRow, row: BenchmarkWork.Row) {
        val name = row.title(this)
        val none = getString(R.string.no_value)
        val box = line.getChildAt(0) as CheckBox
        box.isEnabled = !work.running && row.entry?.problem == null
        box.contentDescription = getString(R.string.measured_model, name)
        val measured = row.measured
        val values = listOf(
            name,
            row.entry?.takeIf { it.bytes > 0 }?.let { Numbers.megabytes(it.bytes) } ?: none,
            measured?.latency?.let { Numbers.milliseconds(it.medianMs) } ?: none,
            measured?.latency?.let { Numbers.milliseconds(it.p95Ms) } ?: none,
            measured?.accuracy?.percent?.let { Numbers.percent(it / 100) } ?: none,
            measured?.result?.selfTest?.let { SelfTests.short(resources, it) } ?: none,
        )
        for ((at, value) in values.withIndex()) (line.getChildAt(at + 1) as TextView).text = value
    }

    private fun cell(number: Boolean) = TextView(this, null, 0, R.style.Label_Cell).apply {
        gravity = if (number) Gravity.END else Gravity.START
        if (!number) maxWidth = resources.getDimensionPixelSize(R.dimen.name)
    }

    private fun tell(text: String) {
        dialog = AlertDialog.Builder(this)
            .setMessage(text)
            .setPositiveButton(R.string.close, null)
            .show()
    }

    private companion object {
        const val ASK_FOLDER = 1
    }
}
