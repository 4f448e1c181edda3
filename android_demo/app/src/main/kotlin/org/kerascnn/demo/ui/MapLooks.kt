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
        prepare(width, 4 * line)
        for (row in 0 until height) paintRow(classes, row, width, 4 * line)
        return made
    }

    /** Of a row's pixels and some more: what stripes cover, and what dots may. */
    private var stripes = BooleanArray(0)
    private var dots = BooleanArray(0)
    private var period = 0

    private fun prepare(width: Int, period: Int) {
        if (dots.size == width && this.period == period) return
        this.period = period
        stripes = BooleanArray(width + 2 * period) { isOn(Pattern.STRIPES, 0, it, period) }
        dots = BooleanArray(width) { isOn(Pattern.DOTS, 0, it, period) }
    }

    private fun paintRow(classes: ByteArray, row: Int, width: Int, period: Int) {
        val shift = row % (2 * period)
        val dotted = isOn(Pattern.DOTS, row, 0, period)
        val begin = row * width
        for (column in 0 until width) {
            val at = begin + column
            val label = classes[at].toInt() and 0xff
            made[at] = when {
                edge[at] -> lines[label]
                patterns[label] == Pattern.SOLID -> on[label]
                patterns[label] == Pattern.STRIPES -> if (stripes[shift + column]) on[label] else between[label]
                else -> if (dotted && dots[column]) on[label] else between[label]
            }
        }
    }

    /**
     * Where another class is within `line` pixels up, down, left or right. Two such pixels have a
     * change between neighbours between them: only around these is anything to compare.
     */
    private fun outlines(classes: ByteArray, width: Int, height: Int, line: Int) {
        edge.fill(false)
        for (row in 0 until height) {
            val begin = row * width
            for (at in begin until begin + width - 1) {
                if (classes[at] != classes[at + 1]) mark(classes, at, 1, line, begin, begin + width - 1)
            }
            if (row == height - 1) break
            for (at in begin until begin + width) {
                if (classes[at] == classes[at + width]) continue
                mark(classes, at, width, line, at - begin, (height - 1) * width + at - begin)
            }
        }
    }

    /** Of a change between `at` and the pixel a step further, on a line from `first` to `last`. */
    private fun mark(classes: ByteArray, at: Int, step: Int, line: Int, first: Int, last: Int) {
        for (far in 1..line) {
            var one = max(first, at - (far - 1) * step)
            while (one <= at && one + far * step <= last) {
                if (classes[one] != classes[one + far * step]) {
                    edge[one] = true
                    edge[one + far * step] = true
                }
                one += step
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
