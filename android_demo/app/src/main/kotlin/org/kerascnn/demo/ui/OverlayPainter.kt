package org.kerascnn.demo.ui

import android.graphics.Bitmap
import kotlin.math.min
import kotlin.math.roundToInt
import kotlin.math.sqrt
import org.kerascnn.demo.core.Answer
import org.kerascnn.demo.core.ModelDescription

/**
 * Tints over a whole picture, made away from the main thread and in the same memory for frame after
 * frame. For one thread.
 */
class OverlayPainter(description: ModelDescription) {
    private val maps = MapLooks(description.labels, description.decoding.palette)
    private val masks = MaskLooks()
    private var classes = ByteArray(0)

    /** One is shown, one was shown just now, and one is written. */
    private val bitmaps = arrayOfNulls<Bitmap>(3)
    private var next = 0

    /**
     * What is laid over a picture; null where there is nothing to lay. It may be shown until the
     * painter was asked twice more.
     *
     * @param lowestScore of the objects that are drawn.
     */
    fun painted(answer: Answer, width: Int, height: Int, lowestScore: Float): Bitmap? {
        val (wide, high) = seen(width, height)
        val pixels = pixels(answer, wide, high, lowestScore) ?: return null
        next = (next + 1) % bitmaps.size
        val bitmap = bitmaps[next]?.takeIf { it.width == wide && it.height == high }
            ?: Bitmap.createBitmap(wide, high, Bitmap.Config.ARGB_8888).also { bitmaps[next] = it }
        bitmap.setPixels(pixels, 0, wide, 0, 0, wide, high)
        return bitmap
    }

    /** ARGB of a size; the next call writes over it. */
    fun pixels(answer: Answer, width: Int, height: Int, lowestScore: Float): IntArray? = when (answer) {
        is Answer.Labels -> null
        is Answer.ClassMap -> maps.overlay(sampled(answer, width, height), width, height)
        is Answer.Boxes -> {
            val any = answer.found.any { it.mask != null && it.score >= lowestScore }
            if (any) masks.overlay(answer.found, width, height, lowestScore) else null
        }
    }

    private fun sampled(map: Answer.ClassMap, width: Int, height: Int): ByteArray {
        if (map.width == width && map.height == height) return map.classes
        if (classes.size != width * height) classes = ByteArray(width * height)
        var at = 0
        for (y in 0 until height) {
            val row = (y * 2 + 1) * map.height / (2 * height) * map.width
            for (x in 0 until width) classes[at++] = map.classes[row + (x * 2 + 1) * map.width / (2 * width)]
        }
        return classes
    }

    companion object {
        /** More pixels are not seen on a phone, and take long. */
        private const val MOST_PIXELS = 600_000.0

        /** A picture's size, or a smaller one of its shape. */
        fun seen(width: Int, height: Int): Pair<Int, Int> {
            val share = min(1.0, sqrt(MOST_PIXELS / (width.toDouble() * height)))
            fun side(pixels: Int) = (pixels * share).roundToInt().coerceAtLeast(1)
            return side(width) to side(height)
        }
    }
}
