package org.kerascnn.demo.core

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

    internal fun placement(width: Int, height: Int): Placement = geometry.placement(width, height)

    /** The picture at the network's size. */
    internal fun fitted(picture: Raster): Raster {
        if (input.resize == Resize.CROP) return cropped(picture)
        if (!geometry.isPadded(picture.width, picture.height)) {
            return Resampling.bilinear(picture, input.width, input.height)
        }
        val place = placement(picture.width, picture.height)
        return picture.placed(place.left, place.top, input.width, input.height)
    }

    private fun cropped(picture: Raster): Raster {
        val crop = geometry.crop(picture.width, picture.height)
        val framed = Resampling.bilinear(picture, crop.width, crop.height, crop.box)
        return framed.part(crop.left, crop.top, input.width, input.height)
    }
}
