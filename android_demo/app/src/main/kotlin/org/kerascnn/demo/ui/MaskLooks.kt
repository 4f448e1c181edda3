package org.kerascnn.demo.ui

import kotlin.math.max
import kotlin.math.roundToInt
import kotlin.math.sqrt
import org.kerascnn.demo.core.Detection
import org.kerascnn.demo.core.MaskPaster

/** Masks of objects: a tint that ends in a line, as training/detection/drawing.py draws them. */
class MaskLooks {
    private val paster = MaskPaster()
    private var made = IntArray(0)

    /**
     * What is laid over a picture: ARGB, alpha the tint's share; the best of `found` on top. The next
     * call writes over it.
     *
     * @param lowestScore of what is drawn.
     */
    fun overlay(found: List<Detection>, width: Int, height: Int, lowestScore: Float = 0f): IntArray {
        val line = max(1, sqrt(width.toDouble() * height / LINE_PIXELS).roundToInt())
        if (made.size == width * height) made.fill(0) else made = IntArray(width * height)
        for (at in found.indices.reversed()) {
            val one = found[at]
            val mask = one.mask
            if (mask == null || one.score < lowestScore) continue
            paster.paste(mask, one, width, height)
            paint(width, height, Palette.colourOf(one.label), line)
        }
        return made
    }

    private fun paint(width: Int, height: Int, colour: Int, line: Int) {
        val tint = (255 * TINT).roundToInt() shl 24 or (colour and 0xffffff)
        // A dark edge lies one pixel outside of the mask, and so perhaps of its part.
        for (y in -1..paster.height) {
            val row = paster.top + y
            if (row !in 0 until height) continue
            for (x in -1..paster.width) {
                val column = paster.left + x
                if (column !in 0 until width) continue
                val at = row * width + column
                if (paster.covers(y, x)) {
                    made[at] = if (isNear(y, x, line, false)) colour else tint
                } else if (isNear(y, x, 1, true)) {
                    made[at] = Palette.INK
                }
            }
        }
    }

    /** Whether a pixel so far up, down, left or right is covered, or is not. */
    private fun isNear(y: Int, x: Int, far: Int, wanted: Boolean): Boolean =
        paster.covers(y - far, x) == wanted || paster.covers(y + far, x) == wanted ||
            paster.covers(y, x - far) == wanted || paster.covers(y, x + far) == wanted

    private companion object {
        const val TINT = 0.45 // share of the class's colour
        const val LINE_PIXELS = 320.0 * 320.0
    }
}
