package org.kerascnn.demo.ui

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Matrix
import android.graphics.Paint
import android.graphics.RectF
import android.util.AttributeSet
import android.view.View
import kotlin.math.min
import kotlin.math.roundToInt
import kotlin.math.sqrt
import org.kerascnn.demo.core.Answer
import org.kerascnn.demo.core.Detection
import org.kerascnn.demo.core.ModelDescription

/** A still picture, or nothing over the camera's, and on it what was found. */
class StageView(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    private val smooth = Paint(Paint.FILTER_BITMAP_FLAG)
    private val crisp = Paint()
    private val painter = BoxPainter(
        resources.displayMetrics.density,
        resources.configuration.fontScale,
    )
    private var description: ModelDescription? = null
    private var answered: Session.Answered? = null
    private var boxes: List<Detection> = emptyList()

    /** Tints over the whole picture. */
    private var overlay: Bitmap? = null
    private var overlaid: Session.Answered? = null

    /** The still picture; null where the camera's shows through. */
    var bitmap: Bitmap? = null
        set(value) {
            field = value
            invalidate()
        }

    /** Whether the picture below is shown as in a looking glass. */
    var mirrored = false
        set(value) {
            field = value
            invalidate()
        }

    fun clear() {
        description = null
        answered = null
        boxes = emptyList()
        overlay = null
        overlaid = null
        invalidate()
    }

    /** Draw an answer; boxes from a score on. */
    fun show(description: ModelDescription, answered: Session.Answered, lowestScore: Float) {
        this.description = description
        this.answered = answered
        val answer = answered.answer
        boxes = (answer as? Answer.Boxes)?.found.orEmpty().filter { it.score >= lowestScore }
        overlay = when (answer) {
            is Answer.ClassMap -> if (overlaid === answered) overlay else tints(description, answer)
            is Answer.Boxes -> masks(answered.width, answered.height)
            is Answer.Labels -> null
        }
        overlaid = answered
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        val still = bitmap
        val width = still?.width ?: answered?.width ?: return
        val height = still?.height ?: answered?.height ?: return
        val place = Viewfinder.fit(width, height, this.width, this.height)
        still?.let { canvas.drawBitmap(it, null, place, smooth) }
        overlay?.let { tinted ->
            canvas.save()
            if (mirrored) canvas.scale(-1f, 1f, place.centerX(), 0f)
            canvas.drawBitmap(tinted, null, place, crisp)
            canvas.restore()
        }
        val told = description ?: return
        painter.draw(canvas, boxes.map { placed(told, it, place) }, place)
    }

    private fun placed(told: ModelDescription, box: Detection, within: RectF): BoxPainter.Box {
        val shares = RectF(box.left, box.top, box.right, box.bottom)
        if (mirrored) shares.set(1 - box.right, box.top, 1 - box.left, box.bottom)
        val place = RectF()
        Matrix().apply { setRectToRect(WHOLE, within, Matrix.ScaleToFit.FILL) }.mapRect(place, shares)
        place.intersect(within)
        return BoxPainter.Box(place, box.label, AnswerRows.nameOf(told, box.label), box.score)
    }

    private fun masks(pictureWidth: Int, pictureHeight: Int): Bitmap? {
        if (boxes.none { it.mask != null }) return null
        val (width, height) = seen(pictureWidth, pictureHeight)
        val pixels = MaskLooks.overlay(boxes, width, height)
        return Bitmap.createBitmap(pixels, width, height, Bitmap.Config.ARGB_8888)
    }

    companion object {
        private val WHOLE = RectF(0f, 0f, 1f, 1f)

        /** More pixels are not seen on a phone, and take long. */
        private const val MOST_PIXELS = 600_000.0

        /** How a file's classes look. */
        fun looks(description: ModelDescription) =
            MapLooks(description.labels, description.decoding.palette)

        private fun tints(description: ModelDescription, map: Answer.ClassMap): Bitmap {
            val (width, height) = seen(map.width, map.height)
            val classes = ByteArray(width * height) { at ->
                val row = (at / width * 2 + 1) * map.height / (2 * height)
                val column = (at % width * 2 + 1) * map.width / (2 * width)
                map.classes[row * map.width + column]
            }
            val pixels = looks(description).overlay(classes, width, height)
            return Bitmap.createBitmap(pixels, width, height, Bitmap.Config.ARGB_8888)
        }

        /** A picture's size, or a smaller one of its shape. */
        private fun seen(width: Int, height: Int): Pair<Int, Int> {
            val share = min(1.0, sqrt(MOST_PIXELS / (width.toDouble() * height)))
            fun side(pixels: Int) = (pixels * share).roundToInt().coerceAtLeast(1)
            return side(width) to side(height)
        }
    }
}
