package org.kerascnn.demo.ui

import kotlin.math.max
import kotlin.math.roundToInt
import kotlin.math.sqrt
import org.kerascnn.demo.core.Answer.ClassMap.Companion.VOID

/**
 * How label maps look: a tint and a contour a class, as training/segmentation/drawing.py draws them.
 *
 * Seven colours are what colour-blind people tell apart: the next seven classes have stripes of
 * them, the next dots. What is no object's, where maps are made of objects, stays as it is.
 *
 * @param palette the data's own colours, opaque ARGB, one a class; null for ours.
 */
class MapLooks(private val labels: List<String>, private val palette: IntArray?) {
    enum class Pattern { SOLID, STRIPES, DOTS }

    class Look(val colour: Int, val pattern: Pattern)

    /** Whether a class is drawn by leaving the picture as it is. */
    fun isBare(label: Int): Boolean = label == 0 && labels.firstOrNull() == BACKGROUND

    fun of(label: Int): Look {
        if (label == VOID) return Look(Palette.MUTED, Pattern.STRIPES)
        if (palette != null && label < palette.size) return Look(palette[label], Pattern.SOLID)
        val number = label - if (labels.firstOrNull() == BACKGROUND) 1 else 0
        val pattern = Math.floorMod(number / Palette.CLASS_COLOURS.size, Pattern.entries.size)
        return Look(Palette.colourOf(number), Pattern.entries[pattern])
    }

    /** What is laid over a picture: `height` rows of ARGB, alpha the tint's share. */
    fun overlay(classes: ByteArray, width: Int, height: Int): IntArray {
        val line = max(1, sqrt(width.toDouble() * height / LINE_PIXELS).roundToInt())
        val edge = outlines(classes, width, line)
        val looks = arrayOfNulls<Look>(256)
        val made = IntArray(classes.size)
        for (at in classes.indices) {
            val label = classes[at].toInt() and 0xff
            if (isBare(label)) continue
            val look = looks[label] ?: of(label).also { looks[label] = it }
            val share = if (edge[at]) 1.0 else share(look.pattern, at / width, at % width, 4 * line)
            made[at] = (255 * share).roundToInt() shl 24 or (look.colour and 0xffffff)
        }
        return made
    }

    companion object {
        private const val BACKGROUND = "background"
        private const val LINE_PIXELS = 320.0 * 320.0
        private const val TINT = 0.65 // the colour's share in a solid tint,
        private const val STRONG = 0.85 // on stripes and dots,
        private const val WEAK = 0.25 // and between them

        /** The tint's share at a pixel, 0 to 1. */
        fun share(pattern: Pattern, row: Int, column: Int, period: Int): Double {
            val on = when (pattern) {
                Pattern.SOLID -> return TINT
                Pattern.STRIPES -> (row + column) % (2 * period) < period
                Pattern.DOTS -> row % period < period / 2 && column % period < period / 2
            }
            return if (on) STRONG else WEAK
        }

        /** Where another class is within `line` pixels up, down, left or right. */
        private fun outlines(classes: ByteArray, width: Int, line: Int): BooleanArray {
            val edge = BooleanArray(classes.size)
            for (step in 1..line) {
                for (at in classes.indices) {
                    val below = at + step * width
                    if (below < classes.size && classes[at] != classes[below]) {
                        edge[at] = true
                        edge[below] = true
                    }
                    val right = at + step
                    if (at % width + step < width && classes[at] != classes[right]) {
                        edge[at] = true
                        edge[right] = true
                    }
                }
            }
            return edge
        }
    }
}
