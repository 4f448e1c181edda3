package org.kerascnn.demo.core

import java.nio.ByteBuffer

/**
 * A YUV_420_888 frame of a camera, in the sensor's orientation: ITU-R 601 in full range (JFIF), a
 * colour for four pixels.
 *
 * @param left, top the first pixel; even numbers.
 */
class YuvFrame(
    val left: Int,
    val top: Int,
    val width: Int,
    val height: Int,
    val luma: Plane,
    val blue: Plane,
    val red: Plane,
) {
    /** The last row of a plane may end with its last number, within a stride. */
    class Plane(val bytes: ByteBuffer, val rowStride: Int, val pixelStride: Int)
}
