package org.kerascnn.demo.ui

import android.content.Context
import android.graphics.Bitmap
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Answer
import org.kerascnn.demo.core.ModelDescription

/**
 * An answer as rows of text.
 *
 * @param swatch what the row's class looks like in the picture, a square of ARGB pixels.
 */
class AnswerRow(val name: String, val value: String, val share: Float, val swatch: IntArray?)

object AnswerRows {
    const val SWATCH = 28
    private const val MOST = 30

    private val swatches = HashMap<Int, IntArray>()

    /** Of whom the patterns of a map are; patterns are made once a model. */
    private var patternsOf: ModelDescription? = null
    private val patterns = HashMap<Int, IntArray>()

    /** Rows of an answer, the most important first; boxes from a score on. On the main thread. */
    fun of(
        context: Context,
        description: ModelDescription,
        answered: Session.Answered,
        lowestScore: Float,
    ): List<AnswerRow> = when (val answer = answered.answer) {
        is Answer.Labels -> answer.top.map { row(description, it.label, it.score, null) }
        is Answer.Boxes -> answer.found
            .filter { it.score >= lowestScore }
            .take(MOST)
            .map { row(description, it.label, it.score, plain(Palette.colourOf(it.label))) }
        is Answer.ClassMap -> areas(context, description, answered)
    }

    private fun row(description: ModelDescription, label: Int, score: Float, swatch: IntArray?) =
        AnswerRow(
            nameOf(description, label),
            if (swatch == null) Numbers.percent(score.toDouble()) else Numbers.score(score.toDouble()),
            score,
            swatch,
        )

    /** A label's name; its number where the file names too few. */
    fun nameOf(description: ModelDescription, label: Int): String =
        description.labels.getOrNull(label) ?: label.toString()

    private fun areas(
        context: Context,
        description: ModelDescription,
        answered: Session.Answered,
    ): List<AnswerRow> {
        val pixels = answered.areas
        if (patternsOf !== description) {
            patternsOf = description
            patterns.clear()
        }
        return pixels.indices
            .filter { pixels[it] > 0 }
            .sortedByDescending { pixels[it] }
            .take(MOST)
            .map { label ->
                val share = pixels[label] / (answered.width.toFloat() * answered.height)
                val name = if (label == Answer.ClassMap.VOID && description.labels.size <= label) {
                    context.getString(R.string.not_counted)
                } else {
                    nameOf(description, label)
                }
                val percent = Numbers.percent(share.toDouble())
                val swatch = patterns.getOrPut(label) {
                    pattern(MapLooks(description.labels, description.decoding.palette), label)
                }
                AnswerRow(name, percent, share, swatch)
            }
    }

    private fun plain(colour: Int) =
        swatches.getOrPut(colour) { IntArray(SWATCH * SWATCH) { colour } }

    /** As in the picture, on white; what is left bare has a frame. */
    private fun pattern(looks: MapLooks, label: Int): IntArray {
        if (looks.isBare(label)) {
            return IntArray(SWATCH * SWATCH) { at ->
                val (y, x) = at / SWATCH to at % SWATCH
                val edge = y < 2 || x < 2 || y >= SWATCH - 2 || x >= SWATCH - 2
                if (edge) Palette.MUTED else 0
            }
        }
        val look = looks.of(label)
        return IntArray(SWATCH * SWATCH) { at ->
            val share = MapLooks.share(look.pattern, at / SWATCH, at % SWATCH, SWATCH / 4)
            blend(look.colour, share)
        }
    }

    private fun blend(colour: Int, share: Double): Int {
        fun channel(shift: Int) = ((colour shr shift and 0xff) * share + 255 * (1 - share)).toInt()
        return 0xff shl 24 or (channel(16) shl 16) or (channel(8) shl 8) or channel(0)
    }

    /** What a view draws of a swatch. */
    fun bitmap(swatch: IntArray): Bitmap =
        Bitmap.createBitmap(swatch, SWATCH, SWATCH, Bitmap.Config.ARGB_8888)
}
