package org.kerascnn.demo.core

/** Mean intersection over union of maps; see training/segmentation/metrics.py. */
class MapOverlap(private val classes: Int) {
    private val both = LongArray(classes)
    private val there = LongArray(classes)
    private val found = LongArray(classes)

    /**
     * Compare a picture's maps, pixel by pixel; what either has as VOID does not count.
     *
     * @return whether they are of one size, and the truth has classes alone.
     */
    fun add(truth: ClassNumbers, answer: Answer.ClassMap): Boolean {
        if (truth.width != answer.width || truth.height != answer.height) return false
        val void = Answer.ClassMap.VOID
        if (truth.values.any { (it.toInt() and 0xff).let { value -> value >= classes && value != void } }) return false
        for (at in truth.values.indices) {
            val wanted = truth.values[at].toInt() and 0xff
            val label = answer.classes[at].toInt() and 0xff
            if (wanted == void || label == void) continue
            there[wanted]++
            found[label]++
            if (wanted == label) both[wanted]++
        }
        return true
    }

    /** In percent, the mean over classes that are there or were found; null without any. */
    fun percent(): Double? {
        val shares = (0 until classes).mapNotNull { label ->
            val either = there[label] + found[label] - both[label]
            if (either == 0L) null else both[label] / either.toDouble()
        }
        return if (shares.isEmpty()) null else 100 * shares.sum() / shares.size
    }
}

/** Numbers of classes, a byte a pixel, row by row. */
class ClassNumbers(val width: Int, val height: Int, val values: ByteArray)
