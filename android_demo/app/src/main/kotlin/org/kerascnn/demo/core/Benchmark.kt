package org.kerascnn.demo.core

import java.util.Random

/**
 * Times of many runs on one picture.
 *
 * @param medianMs half of the runs took no longer, as 90, 95 and 99 in 100 of the other three;
 *     interpolated as NumPy's percentile.
 */
data class LatencySummary(
    val medianMs: Double,
    val p90Ms: Double,
    val p95Ms: Double,
    val p99Ms: Double,
    val runs: Int,
)

/**
 * How long a file is timed at a time.
 *
 * @param warmUpSeconds of runs beforehand that are not counted.
 * @param clock nanoseconds that only grow.
 */
class Pace(val warmUpSeconds: Double, val seconds: Double, val clock: () -> Long = System::nanoTime)

/** A picture of a labelled folder; `read` decodes it, and gives null where that fails. */
class LabelledPicture(val label: String, val read: () -> Picture?)

/**
 * How many pictures the likeliest label was right for.
 *
 * @param unreadable pictures that could not be decoded, and `unknown` those in folders whose name
 *     is none of the labels: neither counts in `pictures`.
 */
data class Accuracy(
    val right: Int,
    override val pictures: Int,
    override val unreadable: Int,
    override val unknown: Int,
) : Judged {
    override val metric = "accuracy"

    /** In percent; null without pictures. */
    override val percent: Double?
        get() = if (pictures > 0) 100.0 * right / pictures else null
}

/** A picture with the objects in it; `read` as of a LabelledPicture. */
class BoxedPicture(val there: List<TrueBox>, val read: () -> Picture?)

/** A picture with its mask; `mask` gives null where it cannot be read. */
class MaskedPicture(val mask: () -> ClassNumbers?, val read: () -> Picture?)

/** Measurements on the phone itself. */
object Benchmark {
    private const val NANOS = 1e9

    /**
     * Which of several files is timed when: all of them in each round, each round in another order,
     * so that none always has the phone that is warm, or the one that is still cool.
     */
    fun order(files: Int, rounds: Int, seed: Long): List<List<Int>> {
        val random = Random(seed)
        return List(rounds) { (0 until files).shuffled(random) }
    }

    /**
     * Time the network on one picture.
     *
     * @param stop asked before each run.
     * @param progress is called with how much is done, 0 to 1.
     * @return nanoseconds of each run, one at least; null where `stop` broke it off.
     * @throws ModelProblem as `Answerer.answer`.
     */
    fun times(
        engine: Answerer,
        picture: Picture,
        pace: Pace,
        stop: () -> Boolean = { false },
        progress: (Double) -> Unit = {},
    ): List<Long>? {
        val begin = pace.clock()
        val all = (pace.warmUpSeconds + pace.seconds) * NANOS
        fun once(): Boolean {
            if (stop()) return false
            engine.answer(picture)
            progress(minOf(1.0, (pace.clock() - begin) / all))
            return true
        }
        val warm = begin + (pace.warmUpSeconds * NANOS).toLong()
        do {
            if (!once()) return null
        } while (pace.clock() < warm)
        val times = mutableListOf<Long>()
        val end = pace.clock() + (pace.seconds * NANOS).toLong()
        do {
            if (!once()) return null
            times += engine.lastNanos
        } while (pace.clock() < end)
        return times
    }

    /** Null without runs. */
    fun summary(nanos: List<Long>): LatencySummary? {
        if (nanos.isEmpty()) return null
        val sorted = nanos.sorted()
        val (median, p90, p95, p99) =
            listOf(0.5, 0.9, 0.95, 0.99).map { percentile(sorted, it) / 1e6 }
        return LatencySummary(median, p90, p95, p99, nanos.size)
    }

    private fun percentile(sorted: List<Long>, share: Double): Double {
        val place = share * (sorted.size - 1)
        val below = place.toInt()
        val above = minOf(below + 1, sorted.size - 1)
        return sorted[below] + (place - below) * (sorted[above] - sorted[below])
    }

    /**
     * Compare the likeliest label with the folder's.
     *
     * @param stop asked before each picture.
     * @param progress is called with how many pictures are done, of how many.
     * @throws ModelProblem as `Answerer.answer`; BROKEN for a file of another task.
     */
    fun accuracy(
        engine: Answerer,
        pictures: List<LabelledPicture>,
        stop: () -> Boolean = { false },
        progress: (done: Int, all: Int) -> Unit = { _, _ -> },
    ): Accuracy {
        val labels = engine.description.labels
        val known = labels.toSet()
        var (right, counted, unreadable, unknown) = listOf(0, 0, 0, 0)
        for ((at, one) in pictures.withIndex()) {
            if (stop()) break
            val picture = if (one.label in known) one.read() else null
            if (one.label !in known) {
                unknown++
            } else if (picture == null) {
                unreadable++
            } else {
                counted++
                if (labels[likeliest(engine.answer(picture))] == one.label) right++
            }
            progress(at + 1, pictures.size)
        }
        return Accuracy(right, counted, unreadable, unknown)
    }

    /**
     * COCO's average precision of the boxes that are found.
     *
     * @param stop, progress as for `accuracy`.
     * @param unknown pictures that were left out, as none of their objects is of the file's labels.
     * @throws ModelProblem as `accuracy`.
     */
    fun averagePrecision(
        engine: Answerer,
        pictures: List<BoxedPicture>,
        unknown: Int = 0,
        stop: () -> Boolean = { false },
        progress: (done: Int, all: Int) -> Unit = { _, _ -> },
    ): Judged {
        val ledger = AveragePrecision(engine.description.labels.size)
        var unreadable = 0
        var counted = 0
        for ((at, one) in pictures.withIndex()) {
            if (stop()) break
            val picture = one.read()
            if (picture == null) {
                unreadable++
            } else {
                val answer = engine.answer(picture) as? Answer.Boxes
                    ?: throw ModelProblem(ModelProblem.Kind.BROKEN, "task")
                ledger.add(one.there, answer.found.map { inPixels(it, picture) })
                counted++
            }
            progress(at + 1, pictures.size)
        }
        return Overlap("AP", ledger.percent(), counted, unreadable, unknown)
    }

    private fun inPixels(found: Detection, picture: Picture): FoundBox {
        val (left, top) = found.left * picture.width.toDouble() to found.top * picture.height.toDouble()
        val (right, bottom) = found.right * picture.width.toDouble() to found.bottom * picture.height.toDouble()
        return FoundBox(found.label, found.score, left, top, right - left, bottom - top)
    }

    /**
     * Mean intersection over union of the maps that are found. A mask that is no map of the file's
     * classes, or of another size than its picture, is unreadable.
     *
     * @param stop, progress as for `accuracy`.
     * @throws ModelProblem as `accuracy`.
     */
    fun meanIou(
        engine: Answerer,
        pictures: List<MaskedPicture>,
        stop: () -> Boolean = { false },
        progress: (done: Int, all: Int) -> Unit = { _, _ -> },
    ): Judged {
        val classes = engine.description.labels.size
        val ledger = MapOverlap(classes)
        val two = classes == 2 && blackAndWhite(pictures, stop)
        var unreadable = 0
        var counted = 0
        for ((at, one) in pictures.withIndex()) {
            if (stop()) break
            val mask = one.mask()?.let { if (two) halved(it) else it }
            val picture = if (mask == null) null else one.read()
            val answer = picture?.let(engine::answer)
            if (answer != null && answer !is Answer.ClassMap) throw ModelProblem(ModelProblem.Kind.BROKEN, "task")
            val fits = mask != null && answer is Answer.ClassMap && ledger.add(mask, answer)
            if (fits) counted++ else unreadable++
            progress(at + 1, pictures.size)
        }
        return Overlap("mIoU", ledger.percent(), counted, unreadable, 0)
    }

    /** Whether 0 and 255 alone are in all masks: two classes then, as training has it. */
    private fun blackAndWhite(pictures: List<MaskedPicture>, stop: () -> Boolean): Boolean =
        pictures.all { one ->
            if (stop()) return false
            one.mask()?.values?.all { it == 0.toByte() || it == (-1).toByte() } ?: true
        }

    private fun halved(mask: ClassNumbers): ClassNumbers {
        val values = ByteArray(mask.values.size) { if (mask.values[it] == 0.toByte()) 0 else 1 }
        return ClassNumbers(mask.width, mask.height, values)
    }

    private fun likeliest(answer: Answer): Int =
        (answer as? Answer.Labels)?.top?.firstOrNull()?.label
            ?: throw ModelProblem(ModelProblem.Kind.BROKEN, "task")
}
