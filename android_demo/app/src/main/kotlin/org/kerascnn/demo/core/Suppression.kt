package org.kerascnn.demo.core

import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min

/** From codes and scores to objects; see kerascnn/detection/postprocess.py. */
internal class Suppression(private val spec: DetectorSpec, private val classes: Int) {
    val anchors = anchorBoxes(spec.levels)
    val count = anchors.size / 4
    val columns = classes + if (spec.background) 1 else 0

    /** Of candidates, in the order in which they are looked at; see `candidates`. */
    private var keys = LongArray(256)
    private val box = FloatArray(4)

    class Found(val label: Int, val score: Float, val box: FloatArray)

    /**
     * Suppress what overlaps with something better: class by class unless `spec.classAgnostic`, and
     * by lower scores where there is a `spec.softNmsSigma`.
     *
     * @param codes four numbers an anchor.
     * @param scores `columns` numbers an anchor.
     * @return the best first, equal ones by label, then by anchor; boxes in shares of the input,
     *     clipped to it after suppression, which compares whole boxes.
     */
    fun select(codes: FloatArray, scores: FloatArray): List<Found> {
        val count = candidates(scores)
        val sigma = spec.softNmsSigma
        val kept =
            if (sigma == null) suppressed(codes, scores, count)
            else softened(List(count) { found(it, scores, decoded(codes, it)) }, sigma)
        return kept.map { Found(it.label, it.score, clipped(it.box)) }
    }

    private fun suppressed(codes: FloatArray, scores: FloatArray, count: Int): List<Found> {
        val kept = mutableListOf<Found>()
        for (at in 0 until count) {
            if (kept.size == spec.maxDetections) break
            decode(codes, anchor(at))
            val label = label(at)
            val dropped = kept.any { rivals(it.label, label) && iou(it.box, box) > spec.iouThreshold }
            if (!dropped) kept += found(at, scores, box.copyOf())
        }
        return kept
    }

    /** Soft-NMS (arXiv:1704.04503); see `soft_nms` of kerascnn/detection/nms.py. */
    private fun softened(candidates: List<Found>, sigma: Float): List<Found> {
        val left = FloatArray(candidates.size) { candidates[it].score }
        val kept = mutableListOf<Found>()
        while (kept.size < spec.maxDetections) {
            val best = left.indices.maxByOrNull { left[it] }
            if (best == null || left[best] <= 0) break
            val (label, box) = candidates[best].let { it.label to it.box }
            kept += Found(label, left[best], box)
            left[best] = 0f
            for (at in left.indices) {
                if (left[at] <= 0 || !rivals(label, candidates[at].label)) continue
                val overlap = iou(box, candidates[at].box)
                // Of a box that is no number the overlap is none either.
                if (overlap > 0) left[at] *= exp(-overlap * overlap / sigma)
                if (left[at] < spec.scoreThreshold) left[at] = 0f
            }
        }
        return kept
    }

    private fun rivals(label: Int, other: Int) = spec.classAgnostic || label == other

    private fun label(at: Int) = ((keys[at] and PLACE) / count).toInt()

    private fun anchor(at: Int) = ((keys[at] and PLACE) % count).toInt()

    private fun decoded(codes: FloatArray, at: Int): FloatArray {
        decode(codes, anchor(at))
        return box.copyOf()
    }

    private fun found(at: Int, scores: FloatArray, box: FloatArray) =
        Found(label(at), score(scores, label(at), anchor(at)), box)

    private fun score(scores: FloatArray, label: Int, anchor: Int): Float =
        scores[anchor * columns + label + columns - classes]

    /**
     * Fills `keys` with numbers that grow as scores fall and then, of equal ones, by label and anchor.
     * Scores are above 0, so that their bits stand in their order.
     */
    private fun candidates(scores: FloatArray): Int {
        if (spec.classAgnostic) return candidatesOfAnchors(scores)
        var found = 0
        for (label in 0 until classes) {
            for (anchor in 0 until count) {
                val score = score(scores, label, anchor)
                if (!(score >= spec.scoreThreshold)) continue
                if (found == keys.size) keys = keys.copyOf(2 * found)
                keys[found++] = key(score, label, anchor)
            }
        }
        keys.sort(0, found)
        return min(found, spec.candidates)
    }

    private fun key(score: Float, label: Int, anchor: Int): Long {
        val falling = (Int.MAX_VALUE - score.toRawBits()).toLong()
        return falling shl 32 or (label.toLong() * count + anchor)
    }

    /** The same of the best class of each anchor; equal ones by anchor alone. */
    private fun candidatesOfAnchors(scores: FloatArray): Int {
        val labels = IntArray(count)
        val best = FloatArray(count) { anchor ->
            for (label in 1 until classes) {
                val better = score(scores, label, anchor) > score(scores, labels[anchor], anchor)
                if (better) labels[anchor] = label
            }
            score(scores, labels[anchor], anchor)
        }
        val order = (0 until count).filter { best[it] >= spec.scoreThreshold }
            .sortedByDescending { best[it] } // stable
            .take(spec.candidates)
        if (keys.size < order.size) keys = LongArray(order.size)
        order.forEachIndexed { at, anchor -> keys[at] = key(best[anchor], labels[anchor], anchor) }
        return order.size
    }

    private fun decode(codes: FloatArray, anchor: Int) {
        val at = 4 * anchor
        val dy = codes[at] / spec.boxScales[0]
        val dx = codes[at + 1] / spec.boxScales[1]
        val dh = codes[at + 2] / spec.boxScales[2]
        val dw = codes[at + 3] / spec.boxScales[3]
        val height = anchors[at + 2] - anchors[at]
        val width = anchors[at + 3] - anchors[at + 1]
        val y = dy * height + (anchors[at] + anchors[at + 2]) * 0.5f
        val x = dx * width + (anchors[at + 1] + anchors[at + 3]) * 0.5f
        val halfHeight = 0.5f * exp(dh) * height
        val halfWidth = 0.5f * exp(dw) * width
        box[0] = y - halfHeight
        box[1] = x - halfWidth
        box[2] = y + halfHeight
        box[3] = x + halfWidth
    }

    private fun clipped(box: FloatArray) = FloatArray(4) { box[it].coerceIn(0f, 1f) }

    /** Intersection over union; a box without area overlaps with nothing. */
    private fun iou(one: FloatArray, other: FloatArray): Float {
        val height = max(0f, min(one[2], other[2]) - max(one[0], other[0]))
        val width = max(0f, min(one[3], other[3]) - max(one[1], other[1]))
        val shared = height * width
        val all = area(one) + area(other) - shared
        return if (all == 0f) 0f else shared / all
    }

    private fun area(box: FloatArray): Float = max(0f, box[2] - box[0]) * max(0f, box[3] - box[1])

    private companion object {
        const val PLACE = 0xffffffffL
    }
}
