package org.kerascnn.demo.core

/** Maps of classes from the network's output to the picture; see training/segmentation/evaluate.py. */
internal object ClassMaps {
    /** Each pixel is that of the nearest one. */
    fun onPicture(
        found: ByteArray,
        width: Int,
        height: Int,
        input: InputSpec,
        place: Placement,
    ): Answer.ClassMap {
        val rows = Resampling.nearestPlaces(place.height, place.pictureHeight)
        val columns = Resampling.nearestPlaces(place.width, place.pictureWidth)
        // The output may be smaller than the input: it is its middle then.
        val top = (input.height - height) / 2 - place.top
        val left = (input.width - width) / 2 - place.left
        val classes = ByteArray(place.pictureWidth * place.pictureHeight)
        var at = 0
        for (row in rows) {
            for (column in columns) {
                val y = row - top
                val x = column - left
                val outside = y !in 0 until height || x !in 0 until width
                classes[at++] = if (outside) Answer.ClassMap.VOID.toByte() else found[y * width + x]
            }
        }
        return Answer.ClassMap(place.pictureWidth, place.pictureHeight, classes)
    }
}
