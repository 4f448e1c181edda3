package org.kerascnn.demo.core

/**
 * Times of many runs on one picture.
 *
 * @param p95Ms 95 in 100 runs took no longer, interpolated as NumPy's percentile.
 */
data class LatencySummary(val medianMs: Double, val p95Ms: Double, val runs: Int)

/** A picture of a labelled folder; `read` decodes it, and gives null where that fails. */
class LabelledPicture(val label: String, val read: () -> Picture?)

/**
 * How many pictures the likeliest label was right for.
 *
 * @param unreadable pictures that could not be decoded, and `unknown` those in folders whose name
 *     is none of the labels: neither counts in `pictures`.
 */
data class Accuracy(val right: Int, val pictures: Int, val unreadable: Int, val unknown: Int) {
    /** In percent; null without pictures. */
    val percent: Double?
        get() = if (pictures > 0) 100.0 * right / pictures else null
}

/** Measurements on the phone itself. */
object Benchmark {
    /**
     * Time the network on one picture.
     *
     * @param warmup runs beforehand that are not counted.
     * @param stop asked before each run.
     * @param progress told how many runs are done, of how many.
     * @return of the runs until `stop`; null if it said so before the first.
     * @throws ModelProblem as `Answerer.answer`.
     */
    fun latency(
        engine: Answerer,
        picture: Picture,
        warmup: Int,
        runs: Int,
        stop: () -> Boolean = { false },
        progress: (done: Int, all: Int) -> Unit = { _, _ -> },
    ): LatencySummary? {
        val times = mutableListOf<Long>()
        for (run in 0 until warmup + runs) {
            if (stop()) break
            engine.answer(picture)
            if (run >= warmup) times += engine.lastNanos
            progress(run + 1, warmup + runs)
        }
        return summary(times)
    }

    internal fun summary(nanos: List<Long>): LatencySummary? {
        if (nanos.isEmpty()) return null
        val sorted = nanos.sorted()
        val (median, p95) = listOf(0.5, 0.95).map { percentile(sorted, it) / 1e6 }
        return LatencySummary(median, p95, nanos.size)
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
     * @param progress told how many pictures are done, of how many.
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

    private fun likeliest(answer: Answer): Int =
        (answer as? Answer.Labels)?.top?.firstOrNull()?.label
            ?: throw ModelProblem(ModelProblem.Kind.BROKEN, "task")
}
