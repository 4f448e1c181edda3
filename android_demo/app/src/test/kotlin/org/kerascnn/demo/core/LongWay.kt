package org.kerascnn.demo.core

/** A camera's frame by way of a picture, pixel after pixel: what `FrameSampler` is held against. */
object LongWay {
    /** Red, green and blue, in the sensor's orientation. */
    fun picture(frame: YuvFrame): Picture {
        val (luma, blue, red) = Triple(frame.luma, frame.blue, frame.red)
        val pixels = IntArray(frame.width * frame.height)
        for (y in 0 until frame.height) {
            val row = (frame.top + y) / 2
            for (x in 0 until frame.width) {
                val column = (frame.left + x) / 2
                val bright = number(luma, frame.top + y, frame.left + x)
                val u = number(blue, row, column) - 128
                val v = number(red, row, column) - 128
                pixels[y * frame.width + x] = rgb(bright, u, v)
            }
        }
        return Picture(frame.width, frame.height, pixels)
    }

    private fun number(plane: YuvFrame.Plane, row: Int, column: Int): Int =
        plane.bytes[row * plane.rowStride + column * plane.pixelStride].toInt() and 0xff

    /** 1.402, 0.344136, 0.714136 and 1.772 in 1/65536, rounded at the end. */
    private fun rgb(y: Int, u: Int, v: Int): Int {
        val bright = (y shl 16) + (1 shl 15)
        val red = (bright + 91881 * v) shr 16
        val green = (bright - 22553 * u - 46802 * v) shr 16
        val blue = (bright + 116130 * u) shr 16
        return red.coerceIn(0, 255) shl 16 or (green.coerceIn(0, 255) shl 8) or blue.coerceIn(0, 255)
    }
}
