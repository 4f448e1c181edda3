package org.kerascnn.demo.core

import kotlin.math.max
import kotlin.math.min

/**
 * An object that is to be found; in pixels.
 *
 * @param crowd whether it is several that nobody told apart: who finds it is neither right nor wrong.
 */
class TrueBox(
    val label: Int,
    val x: Double,
    val y: Double,
    val width: Double,
    val height: Double,
    val crowd: Boolean = false,
)

/** A box that was found; in pixels. */
class FoundBox(
    val label: Int,
    val score: Float,
    val x: Double,
    val y: Double,
    val width: Double,
    val height: Double,
)

/**
 * COCO's average precision of boxes: COCOeval of pycocotools, for objects of all sizes and at most a
 * hundred boxes a picture and class. Source: pycocotools/cocoeval.py, bbIou of maskApi.c.
 */
class AveragePrecision(private val classes: Int) {
    /** Of a class: its boxes of all pictures, the best of each picture first. */
    private class OfClass {
        val scores = Numbers()

        /** A bit a threshold: whether the box found an object, and whether it counts at all. */
        val hits = mutableListOf<Int>()
        val ignored = mutableListOf<Int>()
        var objects = 0
    }

    /** Floats without an object each. */
    private class Numbers {
        private var all = FloatArray(FIRST)
        var size = 0
            private set

        operator fun get(at: Int): Float = all[at]

        operator fun plusAssign(number: Float) {
            if (size == all.size) all = all.copyOf(2 * size)
            all[size++] = number
        }
    }

    private val ofClasses = List(classes) { OfClass() }

    /** Compare what was found in a picture with what is there. */
    fun add(there: List<TrueBox>, found: List<FoundBox>) {
        val (objects, boxes) = there.groupBy { it.label } to found.groupBy { it.label }
        for (label in objects.keys + boxes.keys) {
            if (label !in 0 until classes) continue
            add(ofClasses[label], objects[label].orEmpty(), boxes[label].orEmpty())
        }
    }

    private fun add(own: OfClass, there: List<TrueBox>, found: List<FoundBox>) {
        // Sorting keeps the order of equal ones.
        val objects = there.sortedBy { it.crowd }
        val boxes = found.sortedByDescending { it.score }.take(MOST_BOXES)
        own.objects += objects.count { !it.crowd }
        val overlaps = boxes.map { box -> DoubleArray(objects.size) { overlap(box, objects[it]) } }
        val hits = IntArray(boxes.size)
        val ignored = IntArray(boxes.size)
        for ((bit, threshold) in THRESHOLDS.withIndex()) {
            val taken = BooleanArray(objects.size)
            for (at in boxes.indices) {
                val match = match(objects, overlaps[at], taken, threshold)
                if (match < 0) continue
                taken[match] = true
                hits[at] = hits[at] or (1 shl bit)
                if (objects[match].crowd) ignored[at] = ignored[at] or (1 shl bit)
            }
        }
        for (box in boxes) own.scores += box.score
        own.hits += hits.toList()
        own.ignored += ignored.toList()
    }

    /** The object that a box overlaps most, a crowd only where there is no other; -1 for none. */
    private fun match(
        objects: List<TrueBox>,
        overlaps: DoubleArray,
        taken: BooleanArray,
        threshold: Double,
    ): Int {
        var least = min(threshold, 1 - 1e-10)
        var match = -1
        for (at in objects.indices) {
            if (taken[at] && !objects[at].crowd) continue
            if (match >= 0 && !objects[match].crowd && objects[at].crowd) break
            if (overlaps[at] < least) continue
            least = overlaps[at]
            match = at
        }
        return match
    }

    /** In percent, the mean over thresholds and over classes that have objects; null without any. */
    fun percent(): Double? {
        val all = ofClasses.filter { it.objects > 0 }.flatMap { own ->
            val order = (0 until own.scores.size).sortedByDescending { own.scores[it] }
            THRESHOLDS.indices.map { precision(own, order, it) }
        }
        return if (all.isEmpty()) null else 100 * all.sum() / all.size
    }

    /** The mean over 101 recalls of the best precision at that recall or a higher one. */
    private fun precision(own: OfClass, order: List<Int>, bit: Int): Double {
        val recalls = DoubleArray(order.size)
        val precisions = DoubleArray(order.size)
        var right = 0
        var wrong = 0
        for ((at, box) in order.withIndex()) {
            val hit = own.hits[box] shr bit and 1 == 1
            val counts = own.ignored[box] shr bit and 1 == 0
            if (counts && hit) right++
            if (counts && !hit) wrong++
            recalls[at] = right / own.objects.toDouble()
            precisions[at] = right / (wrong + right + SPACING)
        }
        for (at in order.size - 1 downTo 1) precisions[at - 1] = max(precisions[at - 1], precisions[at])
        var sum = 0.0
        var at = 0
        for (recall in RECALLS) {
            while (at < order.size && recalls[at] < recall) at++
            if (at == order.size) break
            sum += precisions[at]
        }
        return sum / RECALLS.size
    }

    private fun overlap(box: FoundBox, there: TrueBox): Double {
        val width = min(box.x + box.width, there.x + there.width) - max(box.x, there.x)
        val height = min(box.y + box.height, there.y + there.height) - max(box.y, there.y)
        if (width <= 0 || height <= 0) return 0.0
        val both = width * height
        val own = box.width * box.height
        return both / if (there.crowd) own else own + there.width * there.height - both
    }

    private companion object {
        const val MOST_BOXES = 100
        const val FIRST = 64

        /** NumPy's spacing(1). */
        val SPACING = Math.ulp(1.0)

        /** numpy.linspace(0.5, 0.95, 10) and (0, 1, 101): start + i * step, and the end itself. */
        val THRESHOLDS = spaced(0.5, 0.95, 10)
        val RECALLS = spaced(0.0, 1.0, 101)

        fun spaced(begin: Double, end: Double, count: Int): DoubleArray {
            val step = (end - begin) / (count - 1)
            return DoubleArray(count) { if (it == count - 1) end else begin + it * step }
        }
    }
}
