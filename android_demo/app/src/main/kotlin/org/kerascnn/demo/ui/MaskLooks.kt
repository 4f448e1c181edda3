package org.kerascnn.demo.ui

import kotlin.math.max
import kotlin.math.roundToInt
import kotlin.math.sqrt
import org.kerascnn.demo.core.Detection
import org.kerascnn.demo.core.Mask

/** Masks of objects: a tint that ends in a line, as training/detection/drawing.py draws them. */
object MaskLooks {
    private const val TINT = 0.45 // share of the class's colour
    private const val LINE_PIXELS = 320.0 * 320.0

    /** What is laid over a picture: ARGB, alpha the tint's share; the best of `found` on top. */
    fun overlay(found: List<Detection>, width: Int, height: Int): IntArray {
        val line = max(1, sqrt(width.toDouble() * height / LINE_PIXELS).roundToInt())
        val made = IntArray(width * height)
        for (one in found.asReversed()) {
            val mask = one.mask?.pasted(one, width, height) ?: continue
            paint(made, width, height, mask, Palette.colourOf(one.label), line)
        }
        return made
    }

    private fun paint(
        made: IntArray,
        width: Int,
        height: Int,
        mask: Mask.Pasted,
        colour: Int,
        line: Int,
    ) {
        val tint = (255 * TINT).roundToInt() shl 24 or (colour and 0xffffff)
        // A dark edge lies one pixel outside of the mask, and so perhaps of its part.
        for (y in -1..mask.height) {
            for (x in -1..mask.width) {
                val (row, column) = mask.top + y to mask.left + x
                if (row !in 0 until height || column !in 0 until width) continue
                val at = row * width + column
                if (mask.covers(y, x)) {
                    made[at] = if (mask.isNear(y, x, line, false)) colour else tint
                } else if (mask.isNear(y, x, 1, true)) {
                    made[at] = Palette.INK
                }
            }
        }
    }

    private fun Mask.Pasted.covers(y: Int, x: Int): Boolean =
        y in 0 until height && x in 0 until width && covered[y * width + x]

    /** Whether a pixel so far up, down, left or right is covered, or is not. */
    private fun Mask.Pasted.isNear(y: Int, x: Int, far: Int, wanted: Boolean): Boolean =
        covers(y - far, x) == wanted || covers(y + far, x) == wanted ||
            covers(y, x - far) == wanted || covers(y, x + far) == wanted
}
