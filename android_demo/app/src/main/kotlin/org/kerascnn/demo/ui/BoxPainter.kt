package org.kerascnn.demo.ui

import android.graphics.Canvas
import android.graphics.Paint
import android.graphics.RectF
import android.graphics.Typeface
import kotlin.math.max
import kotlin.math.min

/**
 * Boxes in bands of their class's colour, with names: as training/detection/drawing.py draws them.
 *
 * A band has dark edges, so that it shows on a ground of its own colour. No name leaves the
 * picture, and few hide another.
 *
 * @param density pixels of a dp; letters follow the user's own size by `fontScale`.
 */
class BoxPainter(density: Float, fontScale: Float) {
    /** A box inside the view, in its pixels. */
    class Box(val place: RectF, val label: Int, val name: String, val score: Float)

    private class Strip(val place: RectF, val text: String, val colour: Int)

    private val line = LINE * density
    private val gap = GAP * density
    private val band = Paint(Paint.ANTI_ALIAS_FLAG).apply { style = Paint.Style.STROKE }
    private val filling = Paint()
    private val letters = Paint(Paint.ANTI_ALIAS_FLAG).apply {
        textSize = LETTERS * density * fontScale
        typeface = Typeface.create(Typeface.DEFAULT, Typeface.BOLD)
    }
    private val high = letters.fontMetrics.let { it.descent - it.ascent } + gap

    /** Draw boxes, the best first, within a part of the view. */
    fun draw(canvas: Canvas, boxes: List<Box>, within: RectF) {
        for (box in boxes.asReversed()) drawBand(canvas, box)
        val strips = mutableListOf<Strip>()
        for (box in boxes) strips += strip(box, within, strips)
        for (strip in strips.asReversed()) drawStrip(canvas, strip)
    }

    private fun drawBand(canvas: Canvas, box: Box) {
        val edges = listOf(Palette.INK to line + max(2f, line / 2), Palette.colourOf(box.label) to line)
        for ((colour, width) in edges) {
            band.color = colour
            band.strokeWidth = width
            canvas.drawRect(box.place, band)
        }
    }

    private fun strip(box: Box, within: RectF, placed: List<Strip>): Strip {
        val text = fitting(box.name, Numbers.score(box.score.toDouble()), within.width() - 2 * gap)
        val wide = letters.measureText(text) + 2 * gap
        val left = max(within.left, min(box.place.left, within.right - wide))
        val rows = listOf(
            box.place.top - high,
            box.place.top,
            box.place.bottom,
            box.place.bottom - high,
        )
        val places = rows
            .filter { it >= within.top && it + high <= within.bottom }
            .map { RectF(left, it, left + wide, it + high) }
            .ifEmpty { listOf(RectF(left, within.top, left + wide, within.top + high)) }
        val free = places.firstOrNull { place -> placed.none { RectF.intersects(place, it.place) } }
        return Strip(free ?: places.first(), text, Palette.colourOf(box.label))
    }

    /** As much of the name as there is room for. */
    private fun fitting(name: String, score: String, room: Float): String {
        for (length in min(name.length, MOST_LETTERS) downTo 1) {
            val text = if (length < name.length) "${name.take(length)}… $score" else "$name $score"
            if (letters.measureText(text) <= room) return text
        }
        return score
    }

    private fun drawStrip(canvas: Canvas, strip: Strip) {
        filling.color = strip.colour
        canvas.drawRect(strip.place, filling)
        letters.color = Palette.contrast(strip.colour)
        val below = strip.place.top + gap / 2 - letters.fontMetrics.ascent
        canvas.drawText(strip.text, strip.place.left + gap, below, letters)
    }

    private companion object {
        const val LINE = 3f
        const val GAP = 4f
        const val LETTERS = 14f
        const val MOST_LETTERS = 24
    }
}
