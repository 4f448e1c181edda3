package org.kerascnn.demo.core

import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min

/** From codes and scores to objects; see kerascnn/detection/postprocess.py. */
internal class Suppression(private val spec: DetectorSpec, private val classes: Int) {
    val anchors = anchorBoxes(spec.levels)
    val count = anchors.size / 4
    val columns = classes + if (spec.background) 1 else 0

    private class Candidate(val label: Int, val anchor: Int, val score: Float)

    class Found(val label: Int, val score: Float, val box: FloatArray)

    /**
     * Suppress, class by class, what overlaps with something better.
     *
     * @param codes four numbers an anchor.
     * @param scores `columns` numbers an anchor.
     * @return the best first, equal ones by label, then by anchor; boxes in shares of the input,
     *     clipped to it after suppression, which compares whole boxes.
     */
    fun select(codes: FloatArray, scores: FloatArray): List<Found> {
        val kept = mutableListOf<Found>()
        for (candidate in candidates(scores)) {
            if (kept.size == spec.maxDetections) break
            val box = decoded(codes, candidate.anchor)
            val dropped = kept.any {
                it.label == candidate.label && iou(it.box, box) > spec.iouThreshold
            }
            if (!dropped) kept += Found(candidate.label, candidate.score, box)
        }
        return kept.map { Found(it.label, it.score, clipped(it.box)) }
    }

    private fun candidates(scores: FloatArray): List<Candidate> {
        val background = columns - classes
        val found = ArrayList<Candidate>()
        for (label in 0 until classes) {
            for (anchor in 0 until count) {
                val score = scores[anchor * columns + label + background]
                if (score >= spec.scoreThreshold) found += Candidate(label, anchor, score)
            }
        }
        // The sort is stable: equal ones stay in this order.
        found.sortByDescending(Candidate::score)
        return found.take(spec.candidates)
    }

    private fun decoded(codes: FloatArray, anchor: Int): FloatArray {
        val at = 4 * anchor
        val (dy, dx, dh, dw) = FloatArray(4) { codes[at + it] / spec.boxScales[it] }
        val height = anchors[at + 2] - anchors[at]
        val width = anchors[at + 3] - anchors[at + 1]
        val y = dy * height + (anchors[at] + anchors[at + 2]) * 0.5f
        val x = dx * width + (anchors[at + 1] + anchors[at + 3]) * 0.5f
        val halfHeight = 0.5f * exp(dh) * height
        val halfWidth = 0.5f * exp(dw) * width
        return floatArrayOf(y - halfHeight, x - halfWidth, y + halfHeight, x + halfWidth)
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
}
