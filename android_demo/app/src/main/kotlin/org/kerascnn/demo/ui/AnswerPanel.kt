package org.kerascnn.demo.ui

import android.graphics.drawable.BitmapDrawable
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import org.kerascnn.demo.R

/** Rows of answers; their views are used again, since a camera brings many answers a second. */
class AnswerPanel(private val list: ViewGroup) {
    fun clear() = list.removeAllViews()

    fun show(rows: List<AnswerRow>) {
        // A detector that found nothing says so.
        val shown = rows.ifEmpty { listOf(null) }
        while (list.childCount > shown.size) list.removeViewAt(list.childCount - 1)
        val inflater = LayoutInflater.from(list.context)
        while (list.childCount < shown.size) inflater.inflate(R.layout.answer_row, list)
        for ((at, row) in shown.withIndex()) fill(list.getChildAt(at), row)
    }

    private fun fill(view: View, row: AnswerRow?) {
        val swatch = view.part<View>(R.id.swatch)
        val bar = view.part<ShareBar>(R.id.bar)
        swatch.visibility = if (row?.swatch == null) View.GONE else View.VISIBLE
        if (swatch.tag !== row?.swatch) {
            swatch.tag = row?.swatch
            swatch.background = row?.swatch?.let {
                BitmapDrawable(view.resources, AnswerRows.bitmap(it))
            }
        }
        bar.visibility = if (row == null) View.GONE else View.VISIBLE
        bar.share = row?.share ?: 0f
        view.part<TextView>(R.id.label).text =
            row?.name ?: view.context.getString(R.string.nothing)
        view.part<TextView>(R.id.share).text = row?.value.orEmpty()
    }
}
