package org.kerascnn.demo.ui

import android.app.Activity
import android.content.Context
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.view.Gravity
import android.view.ViewGroup
import android.view.WindowManager
import android.widget.TextView
import java.io.File
import java.io.IOException
import org.json.JSONArray
import org.json.JSONObject
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Accelerator
import org.kerascnn.demo.core.ResultRow
import org.kerascnn.demo.core.ResultsCsv

/**
 * Measures what `kerascnn phone` asks for, and says how far it is; see export/deploy/phone_benchmark.py.
 *
 * Extras: "batch" and "job", names of letters and digits; "files", paths of .tflite files under their
 * digests; "threads", "gpu", "seconds"; "labelled", path of a zip. What was measured to the end lies
 * in files/phone/JOB, a table of one row a file, threads and processor, and is not measured again;
 * files/phone/status.json says the rest.
 */
class RunActivity : Activity() {
    private var batch: Batch? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        showOverLock()
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        setContentView(TextView(this).apply {
            gravity = Gravity.CENTER
            textSize = TEXT_SIZE
        })
        begin(intent)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        setIntent(intent)
        batch?.close()
        begin(intent)
    }

    override fun onStop() {
        batch?.work?.leave()
        super.onStop()
    }

    override fun onDestroy() {
        batch?.close()
        super.onDestroy()
    }

    /** A phone that locked itself meanwhile measures all the same. */
    private fun showOverLock() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.O_MR1) {
            setShowWhenLocked(true)
            setTurnScreenOn(true)
        }
    }

    private fun begin(intent: Intent) {
        val asked = Asked.of(intent) ?: return finish()
        batch = Batch(applicationContext, asked, ::show).also(Batch::begin)
    }

    private fun show(text: String) {
        val content = window.decorView.findViewById<ViewGroup>(android.R.id.content)
        (content?.getChildAt(0) as? TextView)?.text = text
    }

    private companion object {
        const val TEXT_SIZE = 18f
    }
}

/** What was asked for by an intent. */
class Asked private constructor(
    val batch: String,
    val job: String,
    val files: List<PushedModel>,
    val setup: Setup,
    val seconds: Int,
    val labelled: LabelledZip?,
) {
    companion object {
        private val NAME = Regex("[0-9a-z]{1,64}")
        private const val SECONDS = 5

        /** Null where it is no such intent. */
        fun of(intent: Intent): Asked? {
            val (batch, job) = listOf("batch", "job").map { intent.getStringExtra(it).orEmpty() }
            val files = intent.getStringArrayExtra("files")?.map { PushedModel(File(it)) }.orEmpty()
            val sound = NAME.matches(batch) && NAME.matches(job) && files.all { NAME.matches(it.digest) }
            if (!sound || files.isEmpty()) return null
            val accelerator = if (intent.getBooleanExtra("gpu", false)) Accelerator.GPU else Accelerator.CPU
            return Asked(
                batch,
                job,
                files,
                Setup(intent.getIntExtra("threads", 1).coerceAtLeast(1), accelerator),
                intent.getIntExtra("seconds", SECONDS).coerceAtLeast(1),
                intent.getStringExtra("labelled")?.let { LabelledZip(File(it)) },
            )
        }
    }
}

/** One start: all files in one setup. Belongs to the main thread. */
private class Batch(
    private val context: Context,
    private val asked: Asked,
    private val show: (String) -> Unit,
) {
    private val place = File(context.filesDir, "phone")
    private val rows = File(place, asked.job)
    val work = BenchmarkWork(context, Catalogue(context, Preferences(context)), remaining())
    private var started = false
    private var ended = false

    /** The file that is open: if the process ends now, it was that one. Of both threads. */
    @Volatile private var current = ""

    private fun remaining(): List<PushedModel> {
        rows.mkdirs()
        forgetOlder()
        return asked.files.filter { !row(it).isFile }
    }

    fun begin() {
        status("running", context.getString(R.string.loading))
        work.beforeEach = { file ->
            current = (file as PushedModel).digest
            status("running", "")
        }
        work.listener = ::changed
        changed()
    }

    fun close() = work.close()

    private fun changed() {
        if (ended) return
        if (!started && work.rows.all { it.entry != null }) {
            started = true
            if (work.rows.any { it.entry?.problem == null }) {
                work.start(asked.setup, asked.seconds, asked.labelled)
                return
            }
            return end("done")
        }
        if (!started) return
        val text = work.progress?.text(context.resources).orEmpty()
        show(text)
        if (work.running) return status("running", text)
        end(if (work.wasLeft) "background" else "done")
    }

    private fun end(state: String) {
        ended = true
        for (row in work.rows) {
            val result = row.measured?.result ?: continue
            val file = row.file as PushedModel
            if (result.ended.isEmpty() && result.sha256 == file.digest) write(file, result)
        }
        val text = work.progress?.text(context.resources).orEmpty()
        show(text)
        status(state, text)
    }

    private fun damaged(): List<String> = work.rows.mapNotNull { row ->
        val digest = (row.file as PushedModel).digest
        digest.takeIf { row.measured?.let { it.result.sha256 != digest } ?: false }
    }

    private fun notes(): List<String> = work.rows.mapNotNull { it.note?.text(context.resources) }

    private fun row(file: PushedModel): File =
        File(rows, "${file.digest}-${asked.setup.threads}-${asked.setup.accelerator}.csv")

    private fun write(file: PushedModel, result: ResultRow) =
        whole(row(file), ResultsCsv.write(listOf(result)))

    /** What another version of the app measured, with another runtime perhaps, does not count. */
    private fun forgetOlder() {
        val since = context.packageManager.getPackageInfo(context.packageName, 0).lastUpdateTime
        place.walkBottomUp().filter { it.isFile && it.lastModified() < since }.forEach { it.delete() }
    }

    private fun status(state: String, text: String) {
        val status = JSONObject()
            .put("batch", asked.batch)
            .put("state", state)
            .put("text", text)
            .put("file", current)
        if (state != "running") status.put("notes", JSONArray(notes())).put("damaged", JSONArray(damaged()))
        synchronized(this) { whole(File(place, "status.json"), status.toString()) }
    }

    private fun whole(file: File, text: String) {
        val partial = File(file.parentFile, "${file.name}.part")
        partial.writeText(text)
        if (!partial.renameTo(file)) throw IOException("$file cannot be written")
    }
}
