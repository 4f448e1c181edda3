package org.kerascnn.demo.ui

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.media.ExifInterface
import android.net.Uri
import java.io.IOException
import java.io.InputStream
import org.kerascnn.demo.core.Picture

/** Still pictures: read upright, and shown. */
object Pictures {
    /** Larger ones are read at a half, a quarter, ... of their size. */
    private const val MOST_PIXELS = 12_000_000L

    /** Decoders turn pictures of these formats by themselves. */
    private val TURNED_BY_DECODER = setOf("image/heif", "image/heic", "image/avif")

    /**
     * Read a picture, upright as its EXIF orientation says.
     *
     * @return null if it is none that the phone can decode.
     * @throws IOException its file cannot be read.
     */
    fun read(resolver: ContentResolver, uri: Uri): Picture? {
        val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        open(resolver, uri).use { BitmapFactory.decodeStream(it, null, bounds) }
        if (bounds.outWidth <= 0 || bounds.outHeight <= 0) return null
        val options = BitmapFactory.Options().apply {
            inSampleSize = sample(bounds.outWidth, bounds.outHeight)
            // What lies under a transparent pixel counts, as it does on the desktop.
            inPremultiplied = false
        }
        val bitmap = open(resolver, uri).use { BitmapFactory.decodeStream(it, null, options) }
            ?: return null
        val orientation = if (bounds.outMimeType in TURNED_BY_DECODER) {
            ExifInterface.ORIENTATION_NORMAL
        } else {
            open(resolver, uri).use(::orientation)
        }
        return upright(of(bitmap), orientation).also { bitmap.recycle() }
    }

    /** The pixels of a bitmap. */
    fun of(bitmap: Bitmap): Picture {
        val (width, height) = bitmap.width to bitmap.height
        val pixels = IntArray(width * height)
        bitmap.getPixels(pixels, 0, width, 0, 0, width, height)
        for (at in pixels.indices) pixels[at] = pixels[at] and 0xffffff
        return Picture(width, height, pixels)
    }

    /** What a view draws. */
    fun bitmap(picture: Picture): Bitmap {
        val opaque = IntArray(picture.pixels.size) { picture.pixels[it] or (0xff shl 24) }
        return Bitmap.createBitmap(opaque, picture.width, picture.height, Bitmap.Config.ARGB_8888)
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
        ExifInterface(stream)
            .getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL)
    } catch (_: IOException) {
        ExifInterface.ORIENTATION_NORMAL // a damaged EXIF block is no reason to refuse a picture
    }

    private fun open(resolver: ContentResolver, uri: Uri): InputStream = try {
        resolver.openInputStream(uri) ?: throw IOException("nothing behind $uri")
    } catch (refused: SecurityException) {
        throw IOException(refused)
    }
}
