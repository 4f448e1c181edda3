package org.kerascnn.demo.ui

import android.app.Activity
import android.os.Build
import android.view.View
import android.view.WindowInsets

/**
 * Draw behind the system's bars, as Android 15 and later demand, and keep a view clear of them, of
 * cut-outs and of the keyboard. Before Android 11 the system keeps everything clear by itself.
 */
fun Activity.drawEdgeToEdge(root: View) {
    if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R) return
    if (Build.VERSION.SDK_INT < Build.VERSION_CODES.VANILLA_ICE_CREAM) {
        @Suppress("DEPRECATION") // needless from Android 15 on
        window.setDecorFitsSystemWindows(false)
    }
    root.setOnApplyWindowInsetsListener { view, insets ->
        val clear = insets.getInsets(
            WindowInsets.Type.systemBars() or
                WindowInsets.Type.displayCutout() or
                WindowInsets.Type.ime(),
        )
        view.setPadding(clear.left, clear.top, clear.right, clear.bottom)
        WindowInsets.CONSUMED
    }
}
