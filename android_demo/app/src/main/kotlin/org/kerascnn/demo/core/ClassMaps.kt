package org.kerascnn.demo.core

/**
 * Maps of classes from the network's output to the picture; see training/segmentation/evaluate.py.
 *
 * Pictures of one size, as a camera's, are answered in the same memory.
 */
internal class ClassMaps(private val input: InputSpec) {
    private var place: Placement? = null
    private var rows = IntArray(0)
    private var columns = IntArray(0)
    private var classes = ByteArray(0)

    /** Each pixel is that of the nearest one. */
    fun onPicture(found: ByteArray, width: Int, height: Int, place: Placement): Answer.ClassMap {
        if (place != this.place) {
            rows = Resampling.nearestPlaces(place.height, place.pictureHeight)
            columns = Resampling.nearestPlaces(place.width, place.pictureWidth)
            classes = ByteArray(place.pictureWidth * place.pictureHeight)
            this.place = place
        }
        // The output may be smaller than the input: it is its middle then.
        val top = (input.height - height) / 2 - place.top
        val left = (input.width - width) / 2 - place.left
        var at = 0
        for (row in rows) {
            val y = row - top
            val inside = y in 0 until height
            for (column in columns) {
                val x = column - left
                classes[at++] =
                    if (inside && x in 0 until width) found[y * width + x] else Answer.ClassMap.VOID.toByte()
            }
        }
        return Answer.ClassMap(place.pictureWidth, place.pictureHeight, classes)
    }
}
