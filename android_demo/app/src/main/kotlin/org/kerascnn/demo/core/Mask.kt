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
 */
class Mask(val side: Int, val probabilities: FloatArray) {
    /** Pixels of a picture that a mask covers; the part may be empty. */
    class Pasted(
        val left: Int,
        val top: Int,
        val width: Int,
        val height: Int,
        val covered: BooleanArray,
    )

    /** Which pixels of a picture are the object's. */
    fun pasted(box: Detection, width: Int, height: Int): Pasted {
        val rows = Cells.of(box.top * height, box.bottom * height, height, side)
        val columns = Cells.of(box.left * width, box.right * width, width, side)
        val covered = BooleanArray(rows.count * columns.count) { at ->
            value(rows, at / columns.count, columns, at % columns.count) > THRESHOLD
        }
        return Pasted(columns.begin, rows.begin, columns.count, rows.count, covered)
    }

    private fun value(rows: Cells, y: Int, columns: Cells, x: Int): Float {
        var value = 0f
        for (row in rows.first(y)..rows.last(y)) {
            for (column in columns.first(x)..columns.last(x)) {
                val share = rows.share(y, row) * columns.share(x, column)
                value += share * probabilities[row * side + column]
            }
        }
        return value
    }

    /** Along one side of a picture: the pixels inside it, each with the mask's cells around it. */
    private class Cells(val begin: Int, private val places: FloatArray, private val cells: Int) {
        val count: Int
            get() = places.size

        /** Of the two cells around a pixel; the border of zeros, one cell wide, is none. */
        fun first(pixel: Int): Int = max(places[pixel].toInt() - 1, 0)

        fun last(pixel: Int): Int = min(places[pixel].toInt(), cells - 1)

        fun share(pixel: Int, cell: Int): Float = max(1 - abs(places[pixel] - (cell + 1)), 0f)

        companion object {
            fun of(near: Float, far: Float, side: Int, cells: Int): Cells {
                if (!near.isFinite() || !far.isFinite()) return Cells(0, FloatArray(0), cells)
                val half = (far - near) * 0.5f * ((cells + 2).toDouble() / cells).toFloat()
                val middle = (near + far) * 0.5f
                val first = (middle - half).coerceIn(-FAR, FAR).toInt()
                val last = (middle + half).coerceIn(-FAR, FAR).toInt()
                val (begin, end) = max(first, 0) to min(last + 1, side)
                val scale = ((cells + 2).toDouble() / max(last - first + 1, 1)).toFloat()
                val places = FloatArray(max(end - begin, 0)) {
                    max(scale * ((begin + it - first).toFloat() + 0.5f) - 0.5f, 0f)
                }
                return Cells(begin, places, cells)
            }
        }
    }

    private companion object {
        const val THRESHOLD = 0.5f // probabilities above it are the object's
        const val FAR = 1073741824f // pixels: outside of any picture
    }
}
