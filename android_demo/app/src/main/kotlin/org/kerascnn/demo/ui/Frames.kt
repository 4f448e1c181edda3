package org.kerascnn.demo.ui

import android.media.Image
import java.nio.ByteBuffer
import org.kerascnn.demo.core.Picture

/** Frames of a camera as pictures. */
object Frames {
    /** One plane of a YUV_420_888 frame. */
    class Plane(val bytes: ByteBuffer, val rowStride: Int, val pixelStride: Int)

    /** A YUV_420_888 frame as RGB, in the sensor's orientation. */
    fun picture(image: Image): Picture {
        val (luma, blue, red) = image.planes.map { Plane(it.buffer, it.rowStride, it.pixelStride) }
        val crop = image.cropRect
        return picture(crop.left, crop.top, crop.width(), crop.height(), luma, blue, red)
    }

    /**
     * Of ITU-R 601 in full range (JFIF), as cameras deliver it; a colour for four pixels.
     *
     * @param left, top the first pixel; even numbers.
     */
    fun picture(
        left: Int,
        top: Int,
        width: Int,
        height: Int,
        luma: Plane,
        blue: Plane,
        red: Plane,
    ): Picture {
        val pixels = IntArray(width * height)
        val lumaRow = ByteArray(width * luma.pixelStride)
        for (y in 0 until height) {
            val lumaAt = (top + y) * luma.rowStride + left * luma.pixelStride
            // The last row of a buffer may end with its last pixel, within a stride.
            val length = minOf(lumaRow.size, luma.bytes.limit() - lumaAt)
            luma.bytes.moveTo(lumaAt)
            luma.bytes.get(lumaRow, 0, length)
            val blueAt = (top + y) / 2 * blue.rowStride + left / 2 * blue.pixelStride
            val redAt = (top + y) / 2 * red.rowStride + left / 2 * red.pixelStride
            for (x in 0 until width) {
                val bright = lumaRow[x * luma.pixelStride].toInt() and 0xff
                val u = (blue.bytes[blueAt + x / 2 * blue.pixelStride].toInt() and 0xff) - 128
                val v = (red.bytes[redAt + x / 2 * red.pixelStride].toInt() and 0xff) - 128
                pixels[y * width + x] = rgb(bright, u, v)
            }
        }
        return Picture(width, height, pixels)
    }

    /** 1.402, 0.344136, 0.714136 and 1.772 in 1/65536, rounded at the end. */
    private fun rgb(y: Int, u: Int, v: Int): Int {
        val bright = (y shl 16) + (1 shl 15)
        val red = (bright + 91881 * v) shr 16
        val green = (bright - 22553 * u - 46802 * v) shr 16
        val blue = (bright + 116130 * u) shr 16
        return byte(red) shl 16 or (byte(green) shl 8) or byte(blue)
    }

    private fun byte(value: Int): Int = if (value < 0) 0 else if (value > 255) 255 else value
}
