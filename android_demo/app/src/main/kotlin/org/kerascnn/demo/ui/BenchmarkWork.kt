package org.kerascnn.demo.ui

import android.content.Context
import android.content.res.Resources
import android.net.Uri
import android.os.Build
import android.os.Handler
import android.os.Looper
import java.io.IOException
import java.nio.ByteBuffer
import java.util.Random
import java.util.concurrent.Executors
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Accuracy
import org.kerascnn.demo.core.Benchmark
import org.kerascnn.demo.core.LabelledPicture
import org.kerascnn.demo.core.LatencySummary
import org.kerascnn.demo.core.ModelDescription
import org.kerascnn.demo.core.Picture
import org.kerascnn.demo.core.ResultRow
import org.kerascnn.demo.core.ResultsCsv
import org.kerascnn.demo.core.Task

/**
 * What the benchmark screen shows and does; it outlives rotations.
 *
 * Belongs to the main thread; measuring happens on a thread of its own, one model after another.
 */
class BenchmarkWork(private val context: Context, private val catalogue: Catalogue) {
    /** A model of the table. */
    class Row(val file: ModelFile) {
        var entry: Catalogue.Entry? = null
        var chosen = true
        var measured: Measured? = null
        var note: Note? = null

        fun title(context: Context): String = entry?.title ?: file.name(context)
    }

    /** A sentence with its parts, put into the user's language when it is shown. */
    class Note(private val sentence: Int, private vararg val parts: Any) {
        fun text(resources: Resources): String = resources.getString(
            sentence,
            *parts.map { if (it is Problem) it.text(resources) else it }.toTypedArray(),
        )
    }

    /** What was measured of a model. */
    class Measured(val result: ResultRow, val latency: LatencySummary?, val accuracy: Accuracy?)

    private val main = Handler(Looper.getMainLooper())
    private val worker = Executors.newSingleThreadExecutor()

    val rows: List<Row> = catalogue.files().map(::Row)

    /** Called after every change. */
    var listener: (() -> Unit)? = null

    var running = false
        private set

    /** What is going on, or how it ended. */
    var progress: Note? = null
        private set

    /** How much of the work is done, 0 to 1. */
    var share = 0.0
        private set

    @Volatile private var stopped = false

    init {
        worker.execute {
            for (row in rows) {
                val entry = catalogue.entry(row.file)
                post { fill(row, entry) }
            }
        }
    }

    private fun fill(row: Row, entry: Catalogue.Entry) {
        row.entry = entry
        row.chosen = row.chosen && entry.problem == null
        row.note = entry.problem?.let { Note(R.string.row_problem, entry.title, it) }
        listener?.invoke()
    }

    /** Measure all chosen models; with a folder, the accuracy of the classifiers among them. */
    fun start(setup: Setup, runs: Int, folder: Uri?) {
        if (running) return
        val chosen = rows.filter { it.chosen && it.entry?.problem == null }
        for (row in chosen) {
            row.measured = null
            row.note = null
        }
        stopped = false
        running = true
        tell(0.0, Note(R.string.loading))
        worker.execute {
            for ((at, row) in chosen.withIndex()) {
                if (stopped) break
                val told = guarded({ Note(R.string.row_problem, row.title(context), it) }, setup) {
                    measure(row, setup, runs, folder, Part(at, chosen.size))
                }
                post { row.note = told }
            }
            val end = Note(if (stopped) R.string.stopped else R.string.measured)
            post {
                running = false
                tell(1.0, end)
            }
        }
    }

    /** Break off after the picture that is at work. */
    fun stop() {
        stopped = true
    }

    /** Break off, and never start again. */
    fun close() {
        stop()
        listener = null
        worker.shutdown()
    }

    /** The table to share; null where nothing was measured. */
    fun csv(): String? {
        val measured = rows.mapNotNull { row -> row.measured?.result }
        return if (measured.isEmpty()) null else ResultsCsv.write(measured)
    }

    /** What the work on one of several models is of the whole. */
    private class Part(private val at: Int, private val count: Int) {
        fun of(share: Double): Double = (at + share) / count
    }

    /** On the worker. Returns what else there is to tell. */
    private fun measure(row: Row, setup: Setup, runs: Int, folder: Uri?, part: Part): Note? {
        val bytes = row.file.bytes(context)
        return Engines.current.open(bytes, setup).use { engine ->
            val title = Catalogue.titleOf(engine.description)
            val latency = Benchmark.latency(engine, noise(), WARM_UP, runs, ::stopped) { done, all ->
                report(part.of(done / (2.0 * all)), R.string.measuring_latency, title, done, all)
            }
            val accuracy = folder
                ?.takeIf { engine.description.task == Task.CLASSIFICATION }
                ?.let { tree ->
                    Benchmark.accuracy(engine, pictures(tree), ::stopped) { done, all ->
                        val share = part.of(0.5 + done / (2.0 * all))
                        report(share, R.string.measuring_accuracy, title, done, all)
                    }
                }
            // What was broken off is no measurement.
            if (stopped) return null
            val result = result(row, engine.description, bytes, latency, accuracy, setup)
            post { row.measured = Measured(result, latency, accuracy) }
            accuracy?.let { noteOn(title, it) }
        }
    }

    private fun result(
        row: Row,
        description: ModelDescription,
        bytes: ByteBuffer,
        latency: LatencySummary?,
        accuracy: Accuracy?,
        setup: Setup,
    ) = ResultRow(
        description,
        bytes.limit().toLong(),
        ResultsCsv.sha256(bytes),
        latency,
        accuracy?.percent,
        accuracy?.pictures ?: 0,
        setup.threads,
        setup.accelerator,
        "${Build.MANUFACTURER} ${Build.MODEL}",
        Build.VERSION.RELEASE,
        row.file.name(context),
    )

    private fun noteOn(title: String, accuracy: Accuracy): Note? = when {
        accuracy.pictures + accuracy.unreadable == 0 -> Note(R.string.problem_folder, title)
        accuracy.unreadable > 0 -> Note(R.string.unreadable_pictures, title, accuracy.unreadable)
        accuracy.unknown > 0 -> Note(R.string.unknown_pictures, title, accuracy.unknown)
        else -> null
    }

    private fun pictures(folder: Uri): List<LabelledPicture> =
        LabelledFolder(context, folder).pictures().map { (label, uri) ->
            LabelledPicture(label) { read(uri) }
        }

    /** A picture that cannot be read is none. */
    private fun read(uri: Uri): Picture? = try {
        Pictures.read(context.contentResolver, uri)
    } catch (_: IOException) {
        null
    }

    private fun report(share: Double, sentence: Int, title: String, done: Int, all: Int) =
        post { if (running) tell(share, Note(sentence, title, done, all)) }

    private fun tell(share: Double, progress: Note) {
        this.share = share
        this.progress = progress
        listener?.invoke()
    }

    private fun post(change: () -> Unit) {
        main.post(change)
    }

    private companion object {
        const val WARM_UP = 5
        const val SIDE = 256
        const val SEED = 1L

        /** Times do not depend on what is seen; a network that finds nothing might have less to do. */
        fun noise(): Picture {
            val random = Random(SEED)
            return Picture(SIDE, SIDE, IntArray(SIDE * SIDE) { random.nextInt(1 shl 24) })
        }
    }
}
