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

    /** Row by row, those of the part; what lies behind them is of an earlier mask. */
    var covered = BooleanArray(0)
        private set

    fun paste(mask: Mask, box: Detection, width: Int, height: Int) {
        rows.place(box.top * height, box.bottom * height, height, mask.side)
        columns.place(box.left * width, box.right * width, width, mask.side)
        if (covered.size < rows.count * columns.count) {
            covered = BooleanArray(rows.count * columns.count)
        }
        var at = 0
        for (y in 0 until rows.count) {
            for (x in 0 until columns.count) covered[at++] = value(mask, y, x) > THRESHOLD
        }
    }

    fun covers(y: Int, x: Int): Boolean =
        y in 0 until height && x in 0 until width && covered[y * width + x]

    private fun value(mask: Mask, y: Int, x: Int): Float {
        var value = 0f
        for (row in rows.first(y)..rows.last(y)) {
            for (column in columns.first(x)..columns.last(x)) {
                val share = rows.share(y, row) * columns.share(x, column)
                value += share * mask.probabilities[mask.begin + row * mask.side + column]
            }
        }
        return value
    }

    /** Along one side of a picture: the pixels inside it, each with the mask's cells around it. */
    private class Cells {
        private var places = FloatArray(0)
        private var cells = 0
        var begin = 0
            private set
        var count = 0
            private set

        /** Of the two cells around a pixel; the border of zeros, one cell wide, is none. */
        fun first(pixel: Int): Int = max(places[pixel].toInt() - 1, 0)

        fun last(pixel: Int): Int = min(places[pixel].toInt(), cells - 1)

        fun share(pixel: Int, cell: Int): Float = max(1 - abs(places[pixel] - (cell + 1)), 0f)

        fun place(near: Float, far: Float, side: Int, cells: Int) {
            this.cells = cells
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
            if (places.size < count) places = FloatArray(count)
            for (at in 0 until count) {
                places[at] = max(scale * ((begin + at - first).toFloat() + 0.5f) - 0.5f, 0f)
            }
        }
    }

    private companion object {
        const val THRESHOLD = 0.5f // probabilities above it are the object's
        const val FAR = 1073741824f // pixels: outside of any picture
    }
}
