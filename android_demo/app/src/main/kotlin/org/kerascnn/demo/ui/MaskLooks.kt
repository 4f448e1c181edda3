package org.kerascnn.demo.ui

import kotlin.math.max
import kotlin.math.min
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
            paster.paste(mask, one, width, height, line + 1)
            paint(width, height, Palette.colourOf(one.label), line)
        }
        return made
    }

    private fun paint(width: Int, height: Int, colour: Int, line: Int) {
        val tint = (255 * TINT).roundToInt() shl 24 or (colour and 0xffffff)
        val covered = paster.covered
        val stride = paster.stride
        // A dark edge lies one pixel outside of the mask, and so perhaps of its part.
        for (y in -1..paster.height) {
            val row = paster.top + y
            if (row !in 0 until height) continue
            val first = (y + paster.margin) * stride + paster.margin
            for (x in max(-1, -paster.left)..min(paster.width, width - 1 - paster.left)) {
                val at = row * width + paster.left + x
                val here = first + x
                if (covered[here]) {
                    made[at] = if (isWithin(covered, here, stride, line)) tint else colour
                } else if (
                    covered[here - stride] || covered[here + stride] || covered[here - 1] || covered[here + 1]
                ) {
                    made[at] = Palette.INK
                }
            }
        }
    }

    /** Whether the pixels so far up, down, left and right are the object's too. */
    private fun isWithin(covered: BooleanArray, at: Int, stride: Int, far: Int): Boolean =
        covered[at - far * stride] && covered[at + far * stride] && covered[at - far] && covered[at + far]

    private companion object {
        const val TINT = 0.45 // share of the class's colour
        const val LINE_PIXELS = 320.0 * 320.0
    }
}
