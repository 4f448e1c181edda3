package org.kerascnn.demo.core

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

/** Where pictures of any size go on the network's input; see kerascnn/preprocessing.py. */
internal class Geometry(private val input: InputSpec) {
    /** Pillow's ImageOps.fit to a larger frame, of which the middle is taken. */
    class Crop(val box: Resampling.Box, val width: Int, val height: Int, val left: Int, val top: Int)

    fun placement(width: Int, height: Int): Placement {
        if (!isPadded(width, height)) {
            return Placement(width, height, 0, 0, input.width, input.height)
        }
        val (left, top) = (input.width - width) / 2 to (input.height - height) / 2
        return Placement(width, height, left, top, width, height)
    }

    fun isPadded(width: Int, height: Int): Boolean =
        input.resize == Resize.PAD && width <= input.width && height <= input.height

    fun crop(pictureWidth: Int, pictureHeight: Int): Crop {
        // rint gives the even one of two whole numbers that are equally near, as Python's round.
        val wide = Math.rint(input.width / input.cropFraction).toInt()
        val high = Math.rint(input.height / input.cropFraction).toInt()
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

    fun across(width: Int, height: Int): Span {
        if (input.resize == Resize.CROP) {
            val crop = crop(width, height)
            return Span(crop.box.left, crop.box.right, crop.width, crop.left, input.width, 0)
        }
        val place = placement(width, height)
        return Span(0f, width.toFloat(), place.width, 0, place.width, place.left)
    }

    fun down(width: Int, height: Int): Span {
        if (input.resize == Resize.CROP) {
            val crop = crop(width, height)
            return Span(crop.box.top, crop.box.bottom, crop.height, crop.top, input.height, 0)
        }
        val place = placement(width, height)
        return Span(0f, height.toFloat(), place.height, 0, place.height, place.top)
    }
}
