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

    // Of 256 classes: ARGB on a pattern, between its parts, and on a line; 0 where nothing is drawn.
    private val patterns = Array(256) { of(it).pattern }
    private val on = IntArray(256) { tint(it, if (patterns[it] == Pattern.SOLID) TINT else STRONG) }
    private val between = IntArray(256) { tint(it, WEAK) }
    private val lines = IntArray(256) { tint(it, 1.0) }
    private var edge = BooleanArray(0)
    private var made = IntArray(0)

    private fun tint(label: Int, share: Double): Int =
        if (isBare(label)) 0 else (255 * share).roundToInt() shl 24 or (of(label).colour and 0xffffff)

    /**
     * What is laid over a picture: `height` rows of ARGB, alpha the tint's share. The next call writes
     * over it.
     */
    fun overlay(classes: ByteArray, width: Int, height: Int): IntArray {
        val line = max(1, sqrt(width.toDouble() * height / LINE_PIXELS).roundToInt())
        if (made.size != width * height) {
            made = IntArray(width * height)
            edge = BooleanArray(width * height)
        }
        outlines(classes, width, height, line)
        var at = 0
        for (row in 0 until height) {
            for (column in 0 until width) {
                val label = classes[at].toInt() and 0xff
                made[at] = when {
                    edge[at] -> lines[label]
                    isOn(patterns[label], row, column, 4 * line) -> on[label]
                    else -> between[label]
                }
                at++
            }
        }
        return made
    }

    /** Where another class is within `line` pixels up, down, left or right. */
    private fun outlines(classes: ByteArray, width: Int, height: Int, line: Int) {
        edge.fill(false)
        for (step in 1..line) {
            for (at in 0 until (height - step) * width) {
                val below = at + step * width
                if (classes[at] != classes[below]) {
                    edge[at] = true
                    edge[below] = true
                }
            }
            for (row in 0 until height) {
                for (at in row * width until (row + 1) * width - step) {
                    if (classes[at] != classes[at + step]) {
                        edge[at] = true
                        edge[at + step] = true
                    }
                }
            }
        }
    }

    companion object {
        private const val BACKGROUND = "background"
        private const val LINE_PIXELS = 320.0 * 320.0
        private const val TINT = 0.65 // the colour's share in a solid tint,
        private const val STRONG = 0.85 // on stripes and dots,
        private const val WEAK = 0.25 // and between them

        /** The tint's share at a pixel, 0 to 1. */
        fun share(pattern: Pattern, row: Int, column: Int, period: Int): Double = when {
            pattern == Pattern.SOLID -> TINT
            isOn(pattern, row, column, period) -> STRONG
            else -> WEAK
        }

        private fun isOn(pattern: Pattern, row: Int, column: Int, period: Int): Boolean =
            when (pattern) {
                Pattern.SOLID -> true
                Pattern.STRIPES -> (row + column) % (2 * period) < period
                Pattern.DOTS -> row % period < period / 2 && column % period < period / 2
            }
    }
}
