package org.kerascnn.demo.ui

import android.media.Image
import org.kerascnn.demo.core.YuvFrame

/** Frames of a camera as they are in its memory. */
object Frames {
    /** Good until the image is closed. */
    fun of(image: Image): YuvFrame {
        val (luma, blue, red) = image.planes.map { YuvFrame.Plane(it.buffer, it.rowStride, it.pixelStride) }
        val crop = image.cropRect
        return YuvFrame(crop.left, crop.top, crop.width(), crop.height(), luma, blue, red)
    }
}
