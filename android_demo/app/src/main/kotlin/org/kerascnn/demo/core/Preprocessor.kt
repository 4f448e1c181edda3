package org.kerascnn.demo.core

import java.nio.ByteBuffer

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
    private val geometry = Geometry(input)
    private val numbers = InputNumbers(input)

    /** The input of a picture; the next call writes over it. */
    fun prepare(picture: Picture) = Prepared(
        numbers.of(fitted(Raster.of(picture, input.channels)).bytes),
        placement(picture.width, picture.height),
    )

    /** The input of bytes of the network's size, red first; the next call writes over it. */
    internal fun ofBytes(bytes: ByteArray): ByteBuffer = numbers.of(bytes)

    internal fun placement(width: Int, height: Int): Placement = geometry.placement(width, height)

    /** The picture at the network's size. */
    internal fun fitted(picture: Raster): Raster {
        geometry.crop(picture.width, picture.height)?.let { return cropped(picture, it) }
        val place = placement(picture.width, picture.height)
        val sized = Resampling.resized(picture, place.width, place.height, input.interpolation)
        if (place.width == input.width && place.height == input.height) return sized
        return sized.placed(place.left, place.top, input.width, input.height, input.resize.filling)
    }

    private fun cropped(picture: Raster, crop: Geometry.Crop): Raster {
        val framed =
            Resampling.resized(picture, crop.width, crop.height, input.interpolation, crop.box)
        return framed.part(crop.left, crop.top, input.width, input.height)
    }
}
