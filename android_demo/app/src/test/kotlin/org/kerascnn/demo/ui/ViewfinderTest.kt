package org.kerascnn.demo.ui

import android.graphics.Matrix
import android.util.Size
import android.view.Surface
import kotlin.math.roundToInt
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test
import org.junit.runner.RunWith
import org.kerascnn.demo.core.Picture
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.GraphicsMode

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class ViewfinderTest {
    @Test
    fun `most phones turn a frame by 90 degrees when they are held upright`() {
        assertEquals(90, Viewfinder.turn(90, 0, front = false))
        assertEquals(0, Viewfinder.turn(90, Viewfinder.degrees(Surface.ROTATION_90), front = false))
        assertEquals(180, Viewfinder.turn(90, Viewfinder.degrees(Surface.ROTATION_270), front = false))
        assertEquals(270, Viewfinder.turn(270, 0, front = true))
        assertEquals(0, Viewfinder.turn(270, 90, front = true))
    }

    @Test
    fun `the size is one that both can have`() {
        val frames = listOf(Size(640, 480), Size(1920, 1080))
        assertEquals(Size(640, 480), Viewfinder.chooseSize(frames, listOf(Size(640, 480), Size(320, 240))))
        assertEquals(Size(1920, 1080), Viewfinder.chooseSize(frames, listOf(Size(1920, 1080))))
        assertEquals(Size(640, 480), Viewfinder.chooseSize(frames, emptyList()))
        assertNull(Viewfinder.chooseSize(emptyList(), frames))
    }

    /**
     * Corner by corner: what the system shows, by way of our transform, comes to lie where the
     * turned frame, fitted into the view, has the same pixel. So boxes lie on what they are of.
     */
    @Test
    fun `a frame and the picture on the screen lie on each other, however the phone is held`() {
        val buffer = Size(40, 30)
        for (sensor in listOf(0, 90, 180, 270)) {
            for (display in listOf(0, 90, 180, 270)) {
                for (front in listOf(false, true)) {
                    for (view in listOf(Size(300, 500), Size(500, 300), Size(400, 400))) {
                        compare(buffer, sensor, display, front, view)
                    }
                }
            }
        }
    }

    private fun compare(buffer: Size, sensor: Int, display: Int, front: Boolean, view: Size) {
        val frame = Picture(buffer.width, buffer.height, IntArray(buffer.width * buffer.height) { it })
        val upright = frame.turned(Viewfinder.turn(sensor, display, front))
        val place = Viewfinder.fit(upright.width, upright.height, view.width, view.height)
        // As Android documents a TextureView: upright in the natural orientation, stretched.
        val natural = frame.turned(sensor)
        val ours = Viewfinder.transform(buffer, sensor, display, view.width, view.height)
        for ((y, x) in listOf(0 to 0, 0 to 39, 29 to 0, 29 to 39, 11 to 7)) {
            val pixel = y * buffer.width + x
            val on = at(natural, pixel).let { if (front) 1 - it.first to it.second else it }
            val point = floatArrayOf(on.first * view.width, on.second * view.height)
            Matrix(ours).mapPoints(point)
            val found = at(upright, pixel).let { if (front) 1 - it.first to it.second else it }
            val case = "sensor $sensor, display $display, front $front, $view, pixel $y, $x"
            assertEquals(case, place.left + found.first * place.width(), point[0], 0.01f)
            assertEquals(case, place.top + found.second * place.height(), point[1], 0.01f)
        }
    }

    /** The middle of a pixel, in shares of the picture. */
    private fun at(picture: Picture, pixel: Int): Pair<Float, Float> {
        val at = picture.pixels.indexOf(pixel)
        return (at % picture.width + 0.5f) / picture.width to (at / picture.width + 0.5f) / picture.height
    }

    @Test
    fun `a picture is fitted into the middle`() {
        val place = Viewfinder.fit(200, 100, 400, 400)
        assertEquals(listOf(0, 100, 400, 300), listOf(place.left, place.top, place.right, place.bottom).map { it.roundToInt() })
    }
}
