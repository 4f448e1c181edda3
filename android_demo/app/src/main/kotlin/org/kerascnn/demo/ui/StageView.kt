package org.kerascnn.demo.ui

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Matrix
import android.graphics.Paint
import android.graphics.RectF
import android.util.AttributeSet
import android.view.View
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
        invalidate()
    }

    /** Draw an answer; boxes from a score on. */
    fun show(description: ModelDescription, answered: Session.Answered, lowestScore: Float) {
        this.description = description
        this.answered = answered
        val answer = answered.answer
        boxes = (answer as? Answer.Boxes)?.found.orEmpty().filter { it.score >= lowestScore }
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        val still = bitmap
        val width = still?.width ?: answered?.width ?: return
        val height = still?.height ?: answered?.height ?: return
        val place = Viewfinder.fit(width, height, this.width, this.height)
        still?.let { canvas.drawBitmap(it, null, place, smooth) }
        answered?.overlay?.let { tinted ->
            canvas.save()
            if (mirrored) canvas.scale(-1f, 1f, place.centerX(), 0f)
            canvas.drawBitmap(tinted, null, place, crisp)
            canvas.restore()
        }
        val shown = description ?: return
        painter.draw(canvas, boxes.map { placed(shown, it, place) }, place)
    }

    private fun placed(shown: ModelDescription, box: Detection, within: RectF): BoxPainter.Box {
        val shares = RectF(box.left, box.top, box.right, box.bottom)
        if (mirrored) shares.set(1 - box.right, box.top, 1 - box.left, box.bottom)
        val place = RectF()
        Matrix().apply { setRectToRect(WHOLE, within, Matrix.ScaleToFit.FILL) }.mapRect(place, shares)
        place.intersect(within)
        return BoxPainter.Box(place, box.label, AnswerRows.nameOf(shown, box.label), box.score)
    }

    private companion object {
        val WHOLE = RectF(0f, 0f, 1f, 1f)
    }
}
