package org.kerascnn.demo.core

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/**
 * An object's probabilities in the frame of its box.
 *
 * Its arithmetic is that of training/datasets/instance_masks.py.
 *
 * @param side cells along each side.
 * @param probabilities of the cells, row by row, from `begin` on.
 */
class Mask(val side: Int, val probabilities: FloatArray, val begin: Int = 0) {
    /**
     * The same in the frame of another box: bilinear between cells, and 0 where its own box is not.
     *
     * @param box top, left, bottom and right that it is in the frame of, and `frame` of the other one.
     */
    fun reframed(box: List<Float>, frame: List<Float>): Mask {
        val (rows, columns) = List(2) { places(box[it], box[it + 2], frame[it], frame[it + 2]) }
        val made = FloatArray(side * side)
        for (y in 0 until side) {
            if (rows[y].isNaN()) continue
            val (row, down) = rows[y].toInt() to rows[y] - rows[y].toInt()
            for (x in 0 until side) {
                if (columns[x].isNaN()) continue
                val upper = between(row, columns[x])
                val lower = between(min(row + 1, side - 1), columns[x])
                made[y * side + x] = (upper * (1 - down) + lower * down).toFloat()
            }
        }
        return Mask(side, made)
    }

    /** Where the middles of a frame's cells lie among those of a box; NaN outside of it. */
    private fun places(low: Float, high: Float, begin: Float, end: Float) = DoubleArray(side) {
        val middle = begin + (end.toDouble() - begin) * (it + 0.5) / side
        val place = (middle - low) / max(high.toDouble() - low, 1e-12) * side - 0.5
        if (middle in low.toDouble()..high.toDouble()) place.coerceIn(0.0, side - 1.0) else Double.NaN
    }

    /** Along a row of cells. */
    private fun between(row: Int, column: Double): Double {
        val first = begin + row * side + column.toInt()
        val second = min(first + 1, begin + row * side + side - 1)
        val share = column - column.toInt()
        return probabilities[first] * (1 - share) + probabilities[second] * share
    }

    /** Which pixels of a picture are the object's. */
    fun pasted(box: Detection, width: Int, height: Int): MaskPaster =
        MaskPaster().also { it.paste(this, box, width, height) }
}

/** Puts masks on pictures, one after another in the same memory. */
class MaskPaster {
    private val rows = Cells()
    private val columns = Cells()

    /** Pixels of the picture that the mask may cover; the part may be empty. */
    val top: Int
        get() = rows.begin
    val left: Int
        get() = columns.begin
    val height: Int
        get() = rows.count
    val width: Int
        get() = columns.count

    /**
     * Row by row, those of the part with `margin` pixels around it, which are never the object's; what
     * lies behind them is of an earlier mask.
     */
    var covered = BooleanArray(0)
        private set
    var margin = 0
        private set

    /** Pixels of a row of `covered`. */
    val stride: Int
        get() = width + 2 * margin

    fun paste(mask: Mask, box: Detection, width: Int, height: Int, margin: Int = 0) {
        this.margin = margin
        rows.place(box.top * height, box.bottom * height, height, mask.side)
        columns.place(box.left * width, box.right * width, width, mask.side)
        val size = (rows.count + 2 * margin) * stride
        if (covered.size < size) covered = BooleanArray(size) else covered.fill(false, 0, size)
        for (y in 0 until rows.count) cover(mask, y)
    }

    private fun cover(mask: Mask, y: Int) {
        val upper = mask.begin + rows.one[y] * mask.side
        val lower = mask.begin + rows.other[y] * mask.side
        val up = rows.ofOne[y]
        val down = rows.ofOther[y]
        val to = (y + margin) * stride + margin
        for (x in 0 until columns.count) {
            val left = columns.one[x]
            val right = columns.other[x]
            val ofLeft = columns.ofOne[x]
            val ofRight = columns.ofOther[x]
            var value = up * ofLeft * mask.probabilities[upper + left]
            value += up * ofRight * mask.probabilities[upper + right]
            value += down * ofLeft * mask.probabilities[lower + left]
            value += down * ofRight * mask.probabilities[lower + right]
            covered[to + x] = value > THRESHOLD
        }
    }

    /**
     * Along one side of a picture: the pixels inside it, each with the two cells of the mask around it
     * and their shares. The border of zeros, one cell wide, is none: its share is 0, and its cell the
     * other one.
     */
    private class Cells {
        var one = IntArray(0)
            private set
        var other = IntArray(0)
            private set
        var ofOne = FloatArray(0)
            private set
        var ofOther = FloatArray(0)
            private set
        var begin = 0
            private set
        var count = 0
            private set

        fun place(near: Float, far: Float, side: Int, cells: Int) {
            begin = 0
            count = 0
            if (!near.isFinite() || !far.isFinite()) return
            val half = (far - near) * 0.5f * ((cells + 2).toDouble() / cells).toFloat()
            val middle = (near + far) * 0.5f
            val first = (middle - half).coerceIn(-FAR, FAR).toInt()
            val last = (middle + half).coerceIn(-FAR, FAR).toInt()
            begin = max(first, 0)
            count = max(min(last + 1, side) - begin, 0)
            val scale = ((cells + 2).toDouble() / max(last - first + 1, 1)).toFloat()
            if (one.size < count) {
                one = IntArray(count)
                other = IntArray(count)
                ofOne = FloatArray(count)
                ofOther = FloatArray(count)
            }
            for (at in 0 until count) {
                set(at, max(scale * ((begin + at - first).toFloat() + 0.5f) - 0.5f, 0f), cells)
            }
        }

        private fun set(at: Int, place: Float, cells: Int) {
            val far = place.toInt()
            val near = far - 1
            val hasNear = near in 0 until cells
            val hasFar = far in 0 until cells
            ofOne[at] = if (hasNear) max(1 - abs(place - (near + 1)), 0f) else 0f
            ofOther[at] = if (hasFar) max(1 - abs(place - (far + 1)), 0f) else 0f
            one[at] = if (hasNear) near else if (hasFar) far else 0
            other[at] = if (hasFar) far else one[at]
        }
    }

    private companion object {
        const val THRESHOLD = 0.5f // probabilities above it are the object's
        const val FAR = 1073741824f // pixels: outside of any picture
    }
}
