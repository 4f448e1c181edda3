package org.kerascnn.demo.core

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import kotlin.math.roundToInt

/**
 * What a self-test came to.
 *
 * @param difference see `SelfTest`; infinite where answers are no numbers, or of another shape.
 * @param tolerance what it may be.
 */
data class SelfTestResult(val difference: Double, val tolerance: Double) {
    val verified: Boolean
        get() = difference <= tolerance
}

/**
 * The self-test inside a file: what it answered to the test image where it was written.
 *
 * Fields, and what a difference is, are those of export/artefacts/selftest.py.
 *
 * @param tolerance what the difference may be, and `half` the same in half precision.
 */
data class SelfTest(val tolerance: Double, val half: Double, val expected: Expected) {
    sealed interface Expected

    /** Of every output. */
    data class Numbers(val outputs: List<Digest>) : Expected

    /** @param top the largest values with their places. */
    data class Digest(
        val name: String,
        val size: Int,
        val span: Double,
        val mean: Double,
        val top: List<Pair<Int, Double>>,
        val values: List<Double>,
    )

    data class Classes(val name: String, val size: Int, val classes: List<Int>) : Expected

    /** @param best null where nothing was found. */
    data class Detections(val floor: Double, val scores: List<Double>, val best: Best?) : Expected

    /** @param mask the mean of its cells; null without masks. */
    data class Best(val label: Int, val box: List<Double>, val mask: Double?)

    /**
     * Hold answers against the file's.
     *
     * @param inHalf whether they were computed in half precision.
     */
    fun compare(outputs: Map<String, Output>, inHalf: Boolean): SelfTestResult {
        val apart = when (expected) {
            is Numbers -> expected.outputs.maxOf { apart(it, outputs) }
            is Classes -> apart(expected, outputs)
            is Detections -> apart(expected, outputs)
        }
        val allowed = if (inHalf) max(tolerance, half) else tolerance
        return SelfTestResult(if (apart.isFinite()) apart else FAR, allowed)
    }

    private fun apart(stored: Digest, outputs: Map<String, Output>): Double {
        val values = outputs.numbers(stored.name, stored.size) ?: return FAR
        var apart = abs(values.sumOf { it.toDouble() } / values.size - stored.mean)
        for ((k, wanted) in stored.values.withIndex()) {
            apart = max(apart, abs(values[place(k, stored.size, stored.values.size)] - wanted))
        }
        for ((place, wanted) in stored.top) apart = max(apart, abs(values[place] - wanted))
        return apart / stored.span
    }

    private fun apart(stored: Classes, outputs: Map<String, Output>): Double {
        val values = outputs.numbers(stored.name, stored.size) ?: return FAR
        val other = stored.classes.withIndex().count { (k, wanted) ->
            values[place(k, stored.size, stored.classes.size)] != wanted.toFloat()
        }
        return other.toDouble() / stored.classes.size
    }

    private fun apart(stored: Detections, outputs: Map<String, Output>): Double {
        val boxes = outputs.numbers("boxes") ?: return FAR
        val labels = outputs.numbers("labels") ?: return FAR
        val scores = outputs.numbers("scores") ?: return FAR
        val count = outputs.numbers("count", 1)?.single()?.roundToInt() ?: return FAR
        val fits = labels.size == scores.size && boxes.size == 4 * scores.size
        if (!fits || count !in 0..scores.size) return FAR
        val apart = scoresApart(stored, scores.take(count))
        val best = stored.best ?: return apart
        var (overlap, at) = 0.0 to -1
        for (place in 0 until count) {
            if (labels[place] != best.label.toFloat()) continue
            val shared = overlap(List(4) { boxes[4 * place + it].toDouble() }, best.box)
            if (shared > overlap || at < 0) {
                overlap = shared
                at = place
            }
        }
        if (overlap < SAME_BOX) return max(apart, 1 - overlap)
        if (best.mask == null || overlap < EQUAL_BOX) return apart
        val masks = outputs.numbers("masks")?.takeIf { it.size % scores.size == 0 } ?: return FAR
        val cells = masks.size / scores.size
        val mean = (at * cells until (at + 1) * cells).sumOf { masks[it].toDouble() } / cells
        return max(apart, abs(mean - best.mask))
    }

    /** Of scores, the best first; what is below the floor, or missing, counts as the floor. */
    private fun scoresApart(stored: Detections, found: List<Float>): Double {
        val given = found.map(Float::toDouble).sortedDescending()
        val wanted = stored.scores.sortedDescending()
        return (0 until max(wanted.size, SCORES)).maxOf { k ->
            val (one, other) = listOf(wanted, given).map { max(it.getOrNull(k) ?: stored.floor, stored.floor) }
            abs(one - other)
        }
    }

    private companion object {
        const val FAR = Double.POSITIVE_INFINITY
        const val SCORES = 12 // of detections, the best, that are compared
        const val SAME_BOX = 0.4
        const val EQUAL_BOX = 0.9
        const val ROUNDING = 1e-5 // of what is stored

        /** Null of an output that is not there, of another size, or no numbers. */
        fun Map<String, Output>.numbers(name: String, size: Int? = null): FloatArray? =
            this[name]?.values?.takeIf { (size == null || it.size == size) && it.all(Float::isFinite) }

        fun place(k: Int, size: Int, count: Int): Int =
            if (size <= count) k else (TestImage.hash(k) % size).toInt()

        /** Intersection over union; of equal boxes 1, also without an area. */
        fun overlap(one: List<Double>, other: List<Double>): Double {
            if (one.zip(other).all { (a, b) -> abs(a - b) <= ROUNDING }) return 1.0
            val both = List(4) { if (it < 2) max(one[it], other[it]) else min(one[it], other[it]) }
            val shared = area(both)
            return if (shared == 0.0) 0.0 else shared / (area(one) + area(other) - shared)
        }

        fun area(box: List<Double>): Double = max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
    }
}
