package org.kerascnn.demo.ui

import android.content.Context
import android.content.res.Resources
import android.os.Build
import android.os.Handler
import android.os.Looper
import java.nio.ByteBuffer
import java.util.Random
import java.util.concurrent.Executors
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Answerer
import org.kerascnn.demo.core.Benchmark
import org.kerascnn.demo.core.BoxedPicture
import org.kerascnn.demo.core.Judged
import org.kerascnn.demo.core.LatencySummary
import org.kerascnn.demo.core.Pace
import org.kerascnn.demo.core.Picture
import org.kerascnn.demo.core.ResultRow
import org.kerascnn.demo.core.ResultsCsv
import org.kerascnn.demo.core.SelfTestResult
import org.kerascnn.demo.core.Task

/**
 * What the benchmark screen shows and does; it outlives rotations.
 *
 * Belongs to the main thread; measuring happens on a thread of its own, one model at a time.
 */
class BenchmarkWork(
    private val context: Context,
    private val catalogue: Catalogue,
    files: List<ModelFile> = catalogue.files(),
) {
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
    class Measured(val result: ResultRow, val latency: LatencySummary?, val accuracy: Judged?)

    private val main = Handler(Looper.getMainLooper())
    private val worker = Executors.newSingleThreadExecutor()

    val rows: List<Row> = files.map(::Row)

    /** Called after every change. */
    var listener: (() -> Unit)? = null

    /** Called by the worker before it opens a file: some end the process. */
    @Volatile var beforeEach: (ModelFile) -> Unit = {}

    var running = false
        private set

    /** What is going on, or how it ended. */
    var progress: Note? = null
        private set

    /** Whether it was broken off since the app was not looked at. */
    val wasLeft: Boolean
        get() = left

    /** How much of the work is done, 0 to 1. */
    var share = 0.0
        private set

    @Volatile private var stopped = false
    @Volatile private var left = false

    /** Of the worker: when progress was reported last. */
    private var reportedAt = Long.MIN_VALUE

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

    /**
     * Measure all chosen models, in several rounds and each time in another order; with a folder, then
     * the accuracy of classifiers, the AP of detectors' boxes and the mIoU of maps.
     *
     * @param seconds for which each is timed in all.
     */
    fun start(setup: Setup, seconds: Int, folder: LabelledFiles?) {
        if (running) return
        val chosen = rows.filter { it.chosen && it.entry?.problem == null }
        for (row in chosen) {
            row.measured = null
            row.note = null
        }
        stopped = false
        left = false
        running = true
        tell(0.0, Note(R.string.loading))
        worker.execute {
            val trials = chosen.map { Trial(it, setup) }
            timeAll(trials, seconds)
            if (folder != null) judgeAll(trials, folder)
            for (trial in trials) end(trial, folder)
            val end = Note(if (left) R.string.left else if (stopped) R.string.stopped else R.string.measured)
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

    /** Break off since the app is not looked at: Android gives it fewer cores then, and slower ones. */
    fun leave() {
        if (!running || stopped) return
        left = true
        stop()
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

    /** What is known of a model so far; of the worker. */
    private class Trial(val row: Row, val setup: Setup) {
        val times = mutableListOf<Long>()
        val starts = mutableListOf<Double>()
        var rounds = 0
        var result: ResultRow? = null
        var accuracy: Judged? = null
        var problem: Note? = null
        var heatBefore: String? = null
        var selfTest: SelfTestResult? = null

        /** Masks of objects and several labels a picture are not. */
        val isJudged: Boolean
            get() = row.entry?.description?.let { description ->
                when (description.task) {
                    Task.CLASSIFICATION, Task.SEGMENTATION -> true
                    Task.DETECTION -> description.outputs.none { it.name == "masks" }
                    Task.MULTILABEL -> false
                }
            } ?: false
    }

    private fun timeAll(trials: List<Trial>, seconds: Int) {
        val pace = Pace(WARM_UP_SECONDS, seconds.toDouble() / ROUNDS, clock)
        var done = 0
        for ((round, order) in Benchmark.order(trials.size, ROUNDS, clock()).withIndex()) {
            for (at in order) {
                val (trial, before) = trials[at] to done++ / (trials.size * ROUNDS.toDouble())
                // What failed once is not tried again: its figures until then stay.
                if (stopped || trial.problem != null) continue
                attempt(trial) {
                    time(trial, pace) { share ->
                        val all = before + share / (trials.size * ROUNDS)
                        report(all, R.string.measuring_latency, trial, round + 1, ROUNDS)
                    }
                }
            }
        }
    }

    private fun judgeAll(trials: List<Trial>, folder: LabelledFiles) {
        // A folder is looked through once.
        val judging by lazy { Judging(folder) }
        for (trial in trials) {
            if (stopped || trial.problem != null || !trial.isJudged) continue
            attempt(trial) { judge(trial, judging) }
        }
    }

    private fun attempt(trial: Trial, work: () -> Unit) {
        val problem: Note? = guarded({ Note(R.string.row_problem, trial.row.title(context), it) }, trial.setup) {
            beforeEach(trial.row.file)
            work()
            null
        }
        trial.problem = problem
    }

    private fun time(trial: Trial, pace: Pace, progress: (Double) -> Unit) {
        val bytes = trial.row.file.bytes(context)
        if (trial.heatBefore == null) trial.heatBefore = Phone.heat(context)
        val begin = clock()
        Engines.current.open(bytes, trial.setup).use { engine ->
            val start = (clock() - begin) / NANOS
            trial.selfTest = trial.selfTest ?: engine.selfTest()
            val times = Benchmark.times(engine, noise(), pace, ::stopped, progress) ?: return
            trial.times += times
            trial.starts += start
            trial.rounds++
            keep(trial, result(trial, engine, bytes))
        }
    }

    private fun judge(trial: Trial, judging: Judging) {
        val bytes = trial.row.file.bytes(context)
        Engines.current.open(bytes, trial.setup).use { engine ->
            val accuracy = judged(engine, judging) { done, all ->
                report(done / all.toDouble(), R.string.measuring_accuracy, trial, done, all)
            }
            // What was broken off is no measurement.
            if (stopped) return
            trial.accuracy = accuracy
            keep(trial, result(trial, engine, bytes))
        }
    }

    private fun judged(engine: Answerer, judging: Judging, progress: (Int, Int) -> Unit): Judged =
        when (engine.description.task) {
            Task.SEGMENTATION ->
                Benchmark.meanIou(engine, judging.masked().orEmpty(), ::stopped, progress)
            Task.DETECTION -> {
                val (pictures, unknown) = judging.boxed(engine.description.labels) ?: (emptyList<BoxedPicture>() to 0)
                Benchmark.averagePrecision(engine, pictures, unknown, ::stopped, progress)
            }
            else -> Benchmark.accuracy(engine, judging.labelled(), ::stopped, progress)
        }

    /** Reported at once: what fails later takes nothing of it away. */
    private fun keep(trial: Trial, result: ResultRow) {
        trial.result = result
        val (latency, accuracy) = result.latency to trial.accuracy
        post {
            trial.row.measured = Measured(result, latency, accuracy)
            listener?.invoke()
        }
    }

    /** What there is to say of a model, and why figures are missing. */
    private fun end(trial: Trial, folder: LabelledFiles?) {
        val title = trial.row.title(context)
        val whole = trial.rounds == ROUNDS && (folder == null || !trial.isJudged || trial.accuracy != null)
        val ended = when {
            whole && trial.problem == null -> ""
            trial.problem != null -> "failed"
            left -> "background"
            else -> "stopped"
        }
        val note = trial.problem ?: trial.accuracy?.let { noteOn(title, it) }
            ?: Note(R.string.row_broken_off, title, trial.rounds, ROUNDS).takeIf { !whole && trial.rounds > 0 }
        trial.result?.let { keep(trial, it.copy(ended = ended)) }
        post { trial.row.note = note }
    }

    private fun result(trial: Trial, engine: Answerer, bytes: ByteBuffer) = ResultRow(
        engine.description,
        bytes.limit().toLong(),
        trial.result?.sha256 ?: ResultsCsv.sha256(bytes),
        Benchmark.summary(trial.times),
        trial.accuracy?.percent,
        trial.accuracy?.pictures ?: 0,
        trial.setup.threads,
        trial.setup.accelerator,
        Phone.device,
        Build.VERSION.RELEASE,
        trial.row.file.name(context),
        initMs = trial.starts.sorted().let { it.getOrNull(it.size / 2) },
        rounds = "${trial.rounds}/$ROUNDS",
        facts = engine.facts,
        soc = Phone.soc,
        thermalBefore = trial.heatBefore.orEmpty(),
        thermalAfter = Phone.heat(context),
        metric = trial.accuracy?.metric.orEmpty(),
        selfTest = trial.selfTest,
    )

    private fun noteOn(title: String, accuracy: Judged): Note? = when {
        accuracy.pictures + accuracy.unreadable == 0 -> Note(R.string.problem_folder, title)
        accuracy.unreadable > 0 -> Note(R.string.unreadable_pictures, title, accuracy.unreadable)
        accuracy.unknown > 0 -> Note(R.string.unknown_pictures, title, accuracy.unknown)
        else -> null
    }

    /** Four times a second: drawing more often would be measured too. */
    private fun report(share: Double, sentence: Int, trial: Trial, done: Int, all: Int) {
        val now = clock()
        if (reportedAt != Long.MIN_VALUE && now - reportedAt < TELL_NANOS) return
        reportedAt = now
        val title = trial.row.title(context)
        post { if (running) tell(share, Note(sentence, title, done, all)) }
    }

    private fun tell(share: Double, progress: Note) {
        this.share = share
        this.progress = progress
        listener?.invoke()
    }

    private fun post(change: () -> Unit) {
        main.post(change)
    }

    companion object {
        /** Nanoseconds; tests put their own here. */
        @Volatile
        var clock: () -> Long = System::nanoTime

        private const val ROUNDS = 3
        private const val WARM_UP_SECONDS = 1.0
        private const val NANOS = 1e6
        private const val TELL_NANOS = 250_000_000L
        private const val SIDE = 256
        private const val SEED = 1L

        /** Times do not depend on what is seen; a network that finds nothing might have less to do. */
        private fun noise(): Picture {
            val random = Random(SEED)
            return Picture(SIDE, SIDE, IntArray(SIDE * SIDE) { random.nextInt(1 shl 24) })
        }
    }
}
