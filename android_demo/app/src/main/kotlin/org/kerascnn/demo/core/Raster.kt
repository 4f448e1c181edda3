package org.kerascnn.demo.core

/** Bytes of a picture with one or three channels, row by row, channels side by side. */
internal class Raster(
    val width: Int,
    val height: Int,
    val channels: Int,
    val bytes: ByteArray = ByteArray(width * height * channels),
) {
    /** The part whose first pixel is at (left, top). */
    fun part(left: Int, top: Int, wide: Int, high: Int): Raster {
        val made = Raster(wide, high, channels)
        for (y in 0 until high) {
            val begin = ((top + y) * width + left) * channels
            bytes.copyInto(made.bytes, y * wide * channels, begin, begin + wide * channels)
        }
        return made
    }

    /** Its first pixel at (left, top), around it bytes of one value. */
    fun placed(left: Int, top: Int, wide: Int, high: Int, filling: Byte): Raster {
        val made = Raster(wide, high, channels)
        made.bytes.fill(filling)
        for (y in 0 until height) {
            val begin = y * width * channels
            val to = ((top + y) * wide + left) * channels
            bytes.copyInto(made.bytes, to, begin, begin + width * channels)
        }
        return made
    }

    companion object {
        /** Red, green and blue, or grey by ITU-R 601 luma as Pillow rounds it. */
        fun of(picture: Picture, channels: Int): Raster {
            val made = Raster(picture.width, picture.height, channels)
            var at = 0
            for (pixel in picture.pixels) {
                val red = pixel shr 16 and 0xff
                val green = pixel shr 8 and 0xff
                val blue = pixel and 0xff
                if (channels == 1) {
                    val luma = red * 19595 + green * 38470 + blue * 7471 + 0x8000
                    made.bytes[at++] = (luma shr 16).toByte()
                } else {
                    made.bytes[at++] = red.toByte()
                    made.bytes[at++] = green.toByte()
                    made.bytes[at++] = blue.toByte()
                }
            }
            return made
        }
    }
}
