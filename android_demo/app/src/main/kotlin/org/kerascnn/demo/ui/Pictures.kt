package org.kerascnn.demo.ui

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.media.ExifInterface
import android.net.Uri
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.IntBuffer
import org.kerascnn.demo.core.Picture

/**
 * Still pictures: read upright, and shown.
 *
 * Networks see the bytes of a file as they are. A colour profile, as the Display-P3 of many phones'
 * photos, is not applied: neither was it when the network learnt and was measured, nor does the page
 * in the browser do so.
 */
object Pictures {
    /** Larger ones are read at a half, a quarter, ... of their size; phones' 16 megapixels are not. */
    private const val MOST_PIXELS = 1L shl 24

    /** Decoders turn pictures of these formats by themselves. */
    private val TURNED_BY_DECODER = setOf("image/heif", "image/heic", "image/avif")

    /**
     * Read a picture, upright as its EXIF orientation says.
     *
     * @return null if it is none that the phone can decode.
     * @throws IOException its file cannot be read.
     */
    fun read(resolver: ContentResolver, uri: Uri): Picture? = read { open(resolver, uri) }

    /** The same of any file; it is opened three times. */
    fun read(open: () -> InputStream): Picture? {
        val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        open().use { foreign { BitmapFactory.decodeStream(it, null, bounds) } }
        if (bounds.outWidth <= 0 || bounds.outHeight <= 0) return null
        val options = BitmapFactory.Options().apply {
            inSampleSize = sample(bounds.outWidth, bounds.outHeight)
            // What lies under a transparent pixel counts, as it does on the desktop.
            inPremultiplied = false
            inPreferredConfig = Bitmap.Config.ARGB_8888
        }
        val bitmap = open().use { foreign { BitmapFactory.decodeStream(it, null, options) } }
            ?: return null
        val orientation = if (bounds.outMimeType in TURNED_BY_DECODER) {
            ExifInterface.ORIENTATION_NORMAL
        } else {
            open().use(::orientation)
        }
        return upright(of(bitmap), orientation).also { bitmap.recycle() }
    }

    /** The pixels of a bitmap, in its own colours: getPixels would convert them to sRGB. */
    private fun of(bitmap: Bitmap): Picture {
        val (width, height) = bitmap.width to bitmap.height
        if (bitmap.config != Bitmap.Config.ARGB_8888) return converted(bitmap)
        val memory = memory(bitmap)
        val pixels = IntArray(width * height)
        val row = IntArray(bitmap.rowBytes / Int.SIZE_BYTES)
        val red = places[0]
        val green = places[1]
        val blue = places[2]
        for (y in 0 until height) {
            memory.moveTo(y * row.size)
            memory.get(row)
            for (x in 0 until width) {
                val word = row[x]
                pixels[y * width + x] = (word ushr red and 0xff shl 16) or
                    (word ushr green and 0xff shl 8) or (word ushr blue and 0xff)
            }
        }
        return Picture(width, height, pixels)
    }

    private fun memory(bitmap: Bitmap): IntBuffer {
        val bytes = ByteBuffer.allocateDirect(bitmap.byteCount).order(ByteOrder.BIG_ENDIAN)
        bitmap.copyPixelsToBuffer(bytes)
        bytes.moveTo(0)
        return bytes.asIntBuffer()
    }

    /**
     * Bits behind red, green and blue in a pixel's memory. Phones have red first; what draws on a
     * computer, as in tests, may have blue first.
     */
    private val places: IntArray by lazy {
        val probe = Bitmap.createBitmap(1, 1, Bitmap.Config.ARGB_8888)
        probe.setPixel(0, 0, 0xff010203.toInt())
        val word = memory(probe).get(0)
        IntArray(3) { channel ->
            val usual = 24 - 8 * channel
            listOf(usual, 16, 8, 0, 24).firstOrNull { word ushr it and 0xff == channel + 1 } ?: usual
        }
    }

    /** Of 16 bits a channel: what the phone makes 8 of. */
    private fun converted(bitmap: Bitmap): Picture {
        val pixels = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        for (at in pixels.indices) pixels[at] = pixels[at] and 0xffffff
        return Picture(bitmap.width, bitmap.height, pixels)
    }

    /** What a view draws. */
    fun bitmap(picture: Picture): Bitmap {
        val (width, height) = picture.width to picture.height
        val made = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
        val row = IntArray(width)
        for (y in 0 until height) {
            for (x in 0 until width) row[x] = picture.pixels[y * width + x] or (0xff shl 24)
            made.setPixels(row, 0, width, 0, y, width, 1)
        }
        return made
    }

    /** The power of two by which a picture is made smaller. */
    fun sample(width: Int, height: Int): Int {
        var sample = 1
        while (width.toLong() * height / (sample * sample) > MOST_PIXELS) sample *= 2
        return sample
    }

    /** Undo an EXIF orientation, 1 to 8: mirror left to right, then turn. */
    fun upright(picture: Picture, orientation: Int): Picture = when (orientation) {
        ExifInterface.ORIENTATION_FLIP_HORIZONTAL -> mirrored(picture)
        ExifInterface.ORIENTATION_ROTATE_180 -> picture.turned(180)
        ExifInterface.ORIENTATION_FLIP_VERTICAL -> mirrored(picture).turned(180)
        ExifInterface.ORIENTATION_TRANSPOSE -> mirrored(picture).turned(270)
        ExifInterface.ORIENTATION_ROTATE_90 -> picture.turned(90)
        ExifInterface.ORIENTATION_TRANSVERSE -> mirrored(picture).turned(90)
        ExifInterface.ORIENTATION_ROTATE_270 -> picture.turned(270)
        else -> picture
    }

    private fun mirrored(picture: Picture): Picture {
        val (width, height) = picture.width to picture.height
        val pixels = IntArray(width * height) { at ->
            picture.pixels[at - at % width + (width - 1 - at % width)]
        }
        return Picture(width, height, pixels)
    }

    private fun orientation(stream: InputStream): Int = try {
        foreign { ExifInterface(stream) }
            .getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL)
    } catch (_: IOException) {
        ExifInterface.ORIENTATION_NORMAL // a damaged EXIF block is no reason to refuse a picture
    }

    /** @throws IOException its provider refused. */
    fun open(resolver: ContentResolver, uri: Uri): InputStream =
        foreign { resolver.openInputStream(uri) } ?: throw IOException("nothing behind $uri")
}
