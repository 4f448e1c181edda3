package org.kerascnn.demo.core

import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min

/**
 * Pictures in other sizes, by Pillow's own arithmetic to the last bit.
 *
 * Sources: Pillow's src/libImaging/Resample.c (8 bits a channel) and Geometry.c.
 */
internal object Resampling {
    private const val PRECISION = 32 - 8 - 2 // bits behind the point of a weight

    /** Sides of a part of a picture, in pixels; the C code has floats here. */
    class Box(val left: Float, val top: Float, val right: Float, val bottom: Float)

    /** Resize, with the filter as wide as what a new pixel covers. */
    fun resized(
        picture: Raster,
        width: Int,
        height: Int,
        filter: Interpolation,
        box: Box = whole(picture),
    ): Raster {
        val across = { made: Raster ->
            if (width == made.width && box.left == 0f && box.right == width.toFloat()) {
                made
            } else {
                across(made, width, weights(filter, made.width, box.left, box.right, width))
            }
        }
        val down = { made: Raster ->
            if (height == made.height && box.top == 0f && box.bottom == height.toFloat()) {
                made
            } else {
                down(made, height, weights(filter, made.height, box.top, box.bottom, height))
            }
        }
        // Pillow 13 takes the cheaper order, and rounds to bytes in between.
        val lost = picture.height - height
        val downFirst = lost > 0 && lost > 2 * (picture.width - width)
        return if (downFirst) across(down(picture)) else down(across(picture))
    }

    private fun whole(picture: Raster) =
        Box(0f, 0f, picture.width.toFloat(), picture.height.toFloat())

    /** For each new pixel the first old one, and the weights of that and those behind it. */
    class Weights(
        val first: IntArray,
        val count: IntArray,
        val shares: IntArray,
        val longest: Int,
    )

    /** @param bits behind the point of a weight. */
    fun weights(
        filter: Interpolation,
        size: Int,
        from: Float,
        to: Float,
        target: Int,
        bits: Int = PRECISION,
    ): Weights {
        val scale = (to - from).toDouble() / target
        val stretch = max(scale, 1.0)
        val support = filter.reach * stretch
        val longest = 2 * ceil(support).toInt() + 1
        val made = Weights(IntArray(target), IntArray(target), IntArray(target * longest), longest)
        val row = DoubleArray(longest)
        for (i in 0 until target) {
            val centre = from + (i + 0.5) * scale
            val begin = max(0, (centre - support + 0.5).toInt())
            val end = min(size, (centre + support + 0.5).toInt())
            var sum = 0.0
            for (j in begin until end) {
                val share = filter.weight((j - centre + 0.5) / stretch)
                row[j - begin] = share
                sum += share
            }
            made.first[i] = begin
            made.count[i] = end - begin
            for (j in 0 until end - begin) {
                val fraction = if (sum != 0.0) row[j] / sum else row[j]
                val half = if (fraction < 0) -0.5 else 0.5
                made.shares[i * longest + j] = (half + fraction * (1 shl bits)).toInt()
            }
            // What weighs nothing at the end need not be added.
            while (made.count[i] > 1 && made.shares[i * longest + made.count[i] - 1] == 0) made.count[i]--
        }
        return made
    }

    private fun across(picture: Raster, target: Int, weights: Weights): Raster {
        val channels = picture.channels
        val made = Raster(target, picture.height, channels)
        var place = 0
        for (y in 0 until picture.height) {
            for (x in 0 until target) {
                val begin = (y * picture.width + weights.first[x]) * channels
                for (channel in 0 until channels) {
                    var sum = 1 shl (PRECISION - 1)
                    var at = begin + channel
                    for (j in x * weights.longest until x * weights.longest + weights.count[x]) {
                        sum += (picture.bytes[at].toInt() and 0xff) * weights.shares[j]
                        at += channels
                    }
                    made.bytes[place++] = byte(sum)
                }
            }
        }
        return made
    }

    private fun down(picture: Raster, target: Int, weights: Weights): Raster {
        val step = picture.width * picture.channels
        val made = Raster(picture.width, target, picture.channels)
        val sums = IntArray(step)
        for (y in 0 until target) {
            sums.fill(1 shl (PRECISION - 1))
            for (j in 0 until weights.count[y]) {
                val share = weights.shares[y * weights.longest + j]
                val begin = (weights.first[y] + j) * step
                for (at in 0 until step) {
                    sums[at] += (picture.bytes[begin + at].toInt() and 0xff) * share
                }
            }
            for (at in 0 until step) made.bytes[y * step + at] = byte(sums[at])
        }
        return made
    }

    private fun byte(sum: Int): Byte = (sum shr PRECISION).coerceIn(0, 255).toByte()

    /** Along one side: which of `size` pixels each of `target` new ones is, the nearest. */
    fun nearestPlaces(size: Int, target: Int): IntArray {
        val step = size.toDouble() / target
        var at = step * 0.5
        return IntArray(target) { min(at.toInt(), size - 1).also { at += step } }
    }
}
