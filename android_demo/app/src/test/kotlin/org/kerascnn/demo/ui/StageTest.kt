package org.kerascnn.demo.ui

import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.RectF
import java.nio.ByteBuffer
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.kerascnn.demo.core.Answer
import org.kerascnn.demo.core.Detection
import org.kerascnn.demo.core.ModelDescription
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.GraphicsMode

/** What is drawn, pixel by pixel. */
@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class StageTest {
    private val context = RuntimeEnvironment.getApplication()

    private fun described(task: String, vararg labels: String): ModelDescription {
        val json = Samples.json(task = task, labels = labels.toList())
        return ModelDescription.read(ByteBuffer.wrap(Samples.model(json)))
    }

    private fun answered(told: ModelDescription, answer: Answer) = Session.Answered(
        answer, 100, 50, 1.0, 1.0, 0, OverlayPainter(told).painted(answer, 100, 50, 0f),
    )

    /** A view of 400 x 400 on which a picture of 100 x 50 lies from row 100 to row 300. */
    private fun drawn(change: (StageView) -> Unit): Bitmap {
        val stage = StageView(context, null)
        stage.layout(0, 0, 400, 400)
        change(stage)
        val bitmap = Bitmap.createBitmap(400, 400, Bitmap.Config.ARGB_8888)
        stage.draw(Canvas(bitmap))
        return bitmap
    }

    @Test
    fun `boxes lie in their place, mirrored where the picture is`() {
        val told = described("detection", "cat")
        // Pixels 100 to 200 across, 150 to 300 down.
        val boxes = Answer.Boxes(listOf(Detection(0, 0.5f, 0.25f, 0.25f, 1f, 0.5f)))
        for (mirrored in listOf(false, true)) {
            val drawn = drawn {
                it.mirrored = mirrored
                it.show(told, answered(told, boxes), 0f)
            }
            fun at(x: Int, y: Int) = drawn.getPixel(if (mirrored) 399 - x else x, y)
            assertEquals(Palette.CLASS_COLOURS[0], at(200, 250))
            assertEquals(Palette.CLASS_COLOURS[0], at(100, 250))
            assertEquals(0, at(150, 250))
            assertEquals(0, at(300, 250))
        }
    }

    @Test
    fun `a map's classes are tinted in their place`() {
        val told = described("segmentation", "background", "cat")
        val classes = ByteArray(100 * 50) { at -> if (at % 100 >= 50) 1 else 0 }
        val drawn = drawn { it.show(told, answered(told, Answer.ClassMap(100, 50, classes)), 0f) }
        assertEquals(0, drawn.getPixel(100, 200))
        assertEquals(0, drawn.getPixel(300, 50))
        val tint = drawn.getPixel(300, 200)
        assertEquals(166, Color.alpha(tint))
        assertEquals(0xd5 / 255f, Color.red(tint) / 255f, 0.02f)
    }

    @Test
    fun `a still picture lies below, and goes with what was found`() {
        val red = Bitmap.createBitmap(100, 50, Bitmap.Config.ARGB_8888).apply { eraseColor(Color.RED) }
        val drawn = drawn { it.bitmap = red }
        assertEquals(Color.RED, drawn.getPixel(200, 200))
        assertEquals(0, drawn.getPixel(200, 50))
        assertEquals(0, drawn { it.clear() }.getPixel(200, 200))
    }

    @Test
    fun `names stay in the picture and beside each other`() {
        val boxes = List(3) { at ->
            BoxPainter.Box(RectF(300f, 102f, 399f, 150f + 30 * at), at, "a name that is far too long for this", 0.5f)
        }
        val bitmap = Bitmap.createBitmap(400, 400, Bitmap.Config.ARGB_8888)
        BoxPainter(1f, 1f).draw(Canvas(bitmap), boxes, RectF(0f, 100f, 400f, 300f))
        for (y in listOf(97, 302)) for (x in 0 until 400) assertEquals("$x, $y", 0, bitmap.getPixel(x, y))
        for (at in 0..2) {
            // Left of all boxes: letters leave the colour of a strip to be seen in every row of it.
            val rows = (100 until 300).filter { y ->
                (0 until 290).any { x -> bitmap.getPixel(x, y) == Palette.CLASS_COLOURS[at] }
            }
            assertTrue("$at: $rows", rows.size >= 10)
        }
    }
}
