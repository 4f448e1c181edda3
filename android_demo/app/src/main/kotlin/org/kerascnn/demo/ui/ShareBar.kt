package org.kerascnn.demo.ui

import android.content.Context
import android.graphics.Canvas
import android.graphics.Paint
import android.util.AttributeSet
import android.view.View
import org.kerascnn.demo.R

/** A thin bar whose coloured part is a share of its length. */
class ShareBar(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    private val ground = Paint().apply { color = context.getColor(R.color.line) }
    private val filled = Paint().apply { color = context.getColor(R.color.accent) }

    /** From 0 to 1. */
    var share = 0f
        set(value) {
            field = value.coerceIn(0f, 1f)
            invalidate()
        }

    var colour: Int
        get() = filled.color
        set(value) {
            filled.color = value
            invalidate()
        }

    override fun onDraw(canvas: Canvas) {
        val middle = if (layoutDirection == LAYOUT_DIRECTION_RTL) width * (1 - share) else 0f
        canvas.drawRect(0f, 0f, width.toFloat(), height.toFloat(), ground)
        canvas.drawRect(middle, 0f, middle + width * share, height.toFloat(), filled)
    }
}
