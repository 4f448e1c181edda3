package org.kerascnn.demo.core

import kotlin.math.max

/**
 * How a side of a picture lies on a side of the network's input.
 *
 * @param from, to the part of the picture's side that becomes `target` pixels.
 * @param skip of these, how many before the first that is wanted.
 * @param count how many are wanted.
 * @param place where the first of these lies on the input.
 * @param reversed whether the picture's last pixel comes first.
 */
internal data class Span(
    val from: Float,
    val to: Float,
    val target: Int,
    val skip: Int,
    val count: Int,
    val place: Int,
    val reversed: Boolean = false,
) {
    /** The same in a picture that is not turned over yet. */
    fun turned(size: Int, over: Boolean): Span =
        if (over) copy(from = size - to, to = size - from, reversed = true) else this
}

/** Where pictures of any size go on the network's input; see kerascnn/geometry.py. */
internal class Geometry(private val input: InputSpec) {
    /** A part of the picture that is resized, and where on that the network's first pixel is. */
    class Crop(val box: Resampling.Box, val width: Int, val height: Int, val left: Int, val top: Int)

    // rint gives the even one of two whole numbers that are equally near, as Python's round.
    private val wide = Math.rint(input.width / input.cropFraction).toInt()
    private val high = Math.rint(input.height / input.cropFraction).toInt()

    fun placement(width: Int, height: Int): Placement {
        val smaller = width <= input.width && height <= input.height
        val (wide, high) = when {
            input.resize == Resize.LETTERBOX -> fitting(width, height)
            input.resize == Resize.PAD && smaller -> width to height
            else -> input.width to input.height
        }
        // An odd pixel that is left over lies below, and to the right.
        val (left, top) = (input.width - wide) / 2 to (input.height - high) / 2
        return Placement(width, height, left, top, wide, high)
    }

    /** The largest picture of a shape within the input, rounded to pixels, half of one up. */
    private fun fitting(width: Int, height: Int): Pair<Int, Int> {
        val (ofWidth, ofHeight) = width.toLong() * input.height to height.toLong() * input.width
        if (ofWidth <= ofHeight) return rounded(ofWidth, height) to input.height
        return input.width to rounded(ofHeight, width)
    }

    private fun rounded(share: Long, whole: Int): Int =
        max(1, ((2 * share + whole) / (2L * whole)).toInt())

    /** Null where the network sees the whole picture. */
    fun crop(width: Int, height: Int): Crop? = when (input.resize) {
        Resize.CROP -> fitted(width, height)
        Resize.CENTRE -> centre(width, height)
        Resize.STRETCH, Resize.PAD, Resize.LETTERBOX -> null
    }

    /** Pillow's ImageOps.fit to a larger frame, of which the middle is taken. */
    private fun fitted(pictureWidth: Int, pictureHeight: Int): Crop {
        val given = pictureWidth.toDouble() / pictureHeight
        val wanted = wide.toDouble() / high
        var (width, height) = pictureWidth.toDouble() to pictureHeight.toDouble()
        if (given > wanted) width = wanted * pictureHeight
        if (given < wanted) height = pictureWidth / wanted
        val (left, top) = (pictureWidth - width) * 0.5 to (pictureHeight - height) * 0.5
        val box = Resampling.Box(
            left.toFloat(),
            top.toFloat(),
            (left + width).toFloat(),
            (top + height).toFloat(),
        )
        return Crop(box, wide, high, (wide - input.width) / 2, (high - input.height) / 2)
    }

    /** torchvision's Resize and CenterCrop: see `covering` in training/datasets/pictures.py. */
    private fun centre(pictureWidth: Int, pictureHeight: Int): Crop {
        var (width, height) = wide to high
        if (pictureWidth.toLong() * high <= pictureHeight.toLong() * wide) {
            height = max(high, (wide.toLong() * pictureHeight / pictureWidth).toInt())
        } else {
            width = max(wide, (high.toLong() * pictureWidth / pictureHeight).toInt())
        }
        val left = Math.rint((width - input.width) / 2.0).toInt()
        val top = Math.rint((height - input.height) / 2.0).toInt()
        val whole = Resampling.Box(0f, 0f, pictureWidth.toFloat(), pictureHeight.toFloat())
        return Crop(whole, width, height, left, top)
    }

    fun across(width: Int, height: Int): Span {
        val crop = crop(width, height)
        val place = placement(width, height)
        return crop?.let { Span(it.box.left, it.box.right, it.width, it.left, input.width, 0) }
            ?: Span(0f, width.toFloat(), place.width, 0, place.width, place.left)
    }

    fun down(width: Int, height: Int): Span {
        val crop = crop(width, height)
        val place = placement(width, height)
        return crop?.let { Span(it.box.top, it.box.bottom, it.height, it.top, input.height, 0) }
            ?: Span(0f, height.toFloat(), place.height, 0, place.height, place.top)
    }
}
