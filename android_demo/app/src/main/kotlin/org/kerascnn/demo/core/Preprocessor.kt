package org.kerascnn.demo.core

import java.nio.ByteBuffer
import kotlin.math.max

/** Where a picture of a size lies on the network's input, in the input's pixels. */
data class Placement(
    val pictureWidth: Int,
    val pictureHeight: Int,
    val left: Int,
    val top: Int,
    val width: Int,
    val height: Int,
)

/** From a picture to what the network is given, as in training; see kerascnn/preprocessing.py. */
class Preprocessor(private val input: InputSpec) {
    private val buffer =
        direct(input.height * input.width * input.channels * input.type.bytes)

    /** What a byte becomes, 256 numbers a channel of the network. */
    private val table = FloatArray(256 * input.channels) { at ->
        val (channel, byte) = at / 256 to (at % 256).toFloat()
        if (input.raw) byte else (byte - input.mean[channel]) / input.std[channel]
    }
    private val numbers =
        FloatArray(if (input.type == NumberType.FLOAT32) buffer.limit() / Float.SIZE_BYTES else 0)

    /** The input of a picture; the next call writes over it. */
    fun fill(picture: Picture): ByteBuffer {
        val bytes = fitted(Raster.of(picture, input.channels)).bytes
        buffer.fromStart()
        if (input.type == NumberType.UINT8) {
            buffer.put(bytes)
        } else {
            normalise(bytes)
            buffer.asFloatBuffer().put(numbers)
        }
        buffer.fromStart()
        return buffer
    }

    /** Where `fill` puts a picture. */
    fun placement(picture: Picture): Placement = placement(picture.width, picture.height)

    internal fun placement(width: Int, height: Int): Placement {
        if (!isPadded(width, height)) {
            return Placement(width, height, 0, 0, input.width, input.height)
        }
        val (left, top) = (input.width - width) / 2 to (input.height - height) / 2
        return Placement(width, height, left, top, width, height)
    }

    private fun isPadded(width: Int, height: Int): Boolean =
        input.resize == Resize.PAD && width <= input.width && height <= input.height

    /** The picture at the network's size. */
    internal fun fitted(picture: Raster): Raster {
        if (input.resize == Resize.CROP) return cropped(picture)
        if (input.resize == Resize.CENTRE) return centre(picture)
        if (!isPadded(picture.width, picture.height)) {
            return Resampling.resized(picture, input.width, input.height, input.interpolation)
        }
        val place = placement(picture.width, picture.height)
        return picture.placed(place.left, place.top, input.width, input.height)
    }

    // rint gives the even one of two whole numbers that are equally near, as Python's round.
    private val wide = Math.rint(input.width / input.cropFraction).toInt()
    private val high = Math.rint(input.height / input.cropFraction).toInt()

    /** Pillow's ImageOps.fit to a larger frame, of which the middle is taken. */
    private fun cropped(picture: Raster): Raster {
        val given = picture.width.toDouble() / picture.height
        val wanted = wide.toDouble() / high
        var (width, height) = picture.width.toDouble() to picture.height.toDouble()
        if (given > wanted) width = wanted * picture.height
        if (given < wanted) height = picture.width / wanted
        val (left, top) = (picture.width - width) * 0.5 to (picture.height - height) * 0.5
        val box = Resampling.Box(
            left.toFloat(),
            top.toFloat(),
            (left + width).toFloat(),
            (top + height).toFloat(),
        )
        val framed = Resampling.resized(picture, wide, high, input.interpolation, box)
        val (beside, above) = (wide - input.width) / 2 to (high - input.height) / 2
        return framed.part(beside, above, input.width, input.height)
    }

    /** torchvision's Resize and CenterCrop: see `covering` in training/datasets/pictures.py. */
    private fun centre(picture: Raster): Raster {
        var (width, height) = wide to high
        if (picture.width.toLong() * high <= picture.height.toLong() * wide) {
            height = max(high, (wide.toLong() * picture.height / picture.width).toInt())
        } else {
            width = max(wide, (high.toLong() * picture.width / picture.height).toInt())
        }
        val covered = Resampling.resized(picture, width, height, input.interpolation)
        val left = Math.rint((width - input.width) / 2.0).toInt()
        val top = Math.rint((height - input.height) / 2.0).toInt()
        return covered.part(left, top, input.width, input.height)
    }

    private fun normalise(bytes: ByteArray) {
        val channels = input.channels
        for (at in numbers.indices) {
            val channel = at % channels
            val from = if (input.reversed) at - channel + channels - 1 - channel else at
            numbers[at] = table[256 * channel + (bytes[from].toInt() and 0xff)]
        }
    }
}
