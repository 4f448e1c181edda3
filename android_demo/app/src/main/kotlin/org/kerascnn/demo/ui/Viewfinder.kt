package org.kerascnn.demo.ui

import android.graphics.Matrix
import android.graphics.RectF
import android.util.Size
import android.view.Surface
import kotlin.math.abs
import kotlin.math.min

/** Where a camera's pictures go on the screen. */
object Viewfinder {
    private const val WANTED_PIXELS = 640 * 480

    /** Degrees of a display's rotation (Surface.ROTATION_*). */
    fun degrees(rotation: Int): Int = when (rotation) {
        Surface.ROTATION_90 -> 90
        Surface.ROTATION_180 -> 180
        Surface.ROTATION_270 -> 270
        else -> 0
    }

    /**
     * Degrees clockwise by which a frame is turned to stand upright on the display.
     *
     * @param sensor the camera's SENSOR_ORIENTATION.
     * @param display degrees of the display's rotation.
     */
    fun turn(sensor: Int, display: Int, front: Boolean): Int =
        Math.floorMod(if (front) sensor + display else sensor - display, 360)

    /** The size that both the network's frames and the screen's can have, nearest to 640 x 480. */
    fun chooseSize(frames: List<Size>, screen: List<Size>): Size? {
        val both = frames.filter { it in screen }.ifEmpty { frames }
        return both.minByOrNull { size ->
            // A square picture or a very wide one shows less of what people point at.
            val shape = if (size.width * 3 == size.height * 4) 1.0 else 1.5
            shape * (1 + abs(size.width.toLong() * size.height - WANTED_PIXELS))
        }
    }

    /** The largest rectangle of a picture's shape in the middle of a view. */
    fun fit(width: Int, height: Int, viewWidth: Int, viewHeight: Int): RectF {
        val scale = min(viewWidth.toFloat() / width, viewHeight.toFloat() / height)
        val left = (viewWidth - width * scale) / 2
        val top = (viewHeight - height * scale) / 2
        return RectF(left, top, left + width * scale, top + height * scale)
    }

    /**
     * The transform of a TextureView that shows a camera's buffers upright, whole and undistorted.
     *
     * The view by itself stretches over its area what the camera shows upright in the device's
     * natural orientation; a front camera's picture mirrored, as in a looking glass. A front
     * camera's frames turn the other way, and mirrored the same way again.
     *
     * @param buffer size of the camera's buffers, in the sensor's orientation.
     */
    fun transform(
        buffer: Size,
        sensor: Int,
        display: Int,
        viewWidth: Int,
        viewHeight: Int,
    ): Matrix {
        val natural = turned(buffer, sensor)
        val upright = turned(natural, display)
        val shown = fit(upright.width, upright.height, viewWidth, viewHeight)
        val scale = shown.width() / upright.width
        val (x, y) = viewWidth / 2f to viewHeight / 2f
        return Matrix().apply {
            setScale(natural.width * scale / viewWidth, natural.height * scale / viewHeight, x, y)
            postRotate(-display.toFloat(), x, y)
        }
    }

    /** A size after so many degrees. */
    fun turned(size: Size, degrees: Int): Size =
        if (degrees % 180 == 0) size else Size(size.height, size.width)
}
