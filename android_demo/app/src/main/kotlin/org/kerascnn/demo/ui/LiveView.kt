package org.kerascnn.demo.ui

import android.content.Context
import android.graphics.SurfaceTexture
import android.hardware.display.DisplayManager
import android.os.Handler
import android.os.Looper
import android.view.TextureView
import org.kerascnn.demo.R
import org.kerascnn.demo.core.YuvFrame

/**
 * The camera's picture in a view, upright however the phone is held, and its frames likewise.
 *
 * @param wanted, onProblem as of `Camera`.
 * @param onFrame a frame, and by how many degrees clockwise it is to be turned; it is gone when the
 *     call returns, which is on the camera's thread.
 */
class LiveView(
    private val context: Context,
    private val view: TextureView,
    private val wanted: () -> Boolean,
    private val onFrame: (YuvFrame, turn: Int) -> Unit,
    private val onProblem: (Problem) -> Unit,
) {
    private val main = Handler(Looper.getMainLooper())
    private var filming = false
    private var camera: Camera? = null
    private var lens: Camera.Lens? = null

    @Volatile private var turn = 0

    /** Whether the picture is shown as in a looking glass. */
    val mirrored: Boolean
        get() = lens?.front == true

    /** Half a turn makes no new activity: it is heard of here. */
    private val displays = object : DisplayManager.DisplayListener {
        override fun onDisplayChanged(id: Int) = place()

        override fun onDisplayAdded(id: Int) = Unit

        override fun onDisplayRemoved(id: Int) = Unit
    }

    init {
        view.surfaceTextureListener = Texture()
    }

    /** Film as soon as there is something to film on. */
    fun start() {
        filming = true
        context.service<DisplayManager>().registerDisplayListener(displays, main)
        open()
    }

    fun stop() {
        if (!filming) return
        filming = false
        context.service<DisplayManager>().unregisterDisplayListener(displays)
        close()
    }

    private fun open() {
        close()
        val made = Camera(context, wanted, { onFrame(it, turn) }, ::end)
        camera = made
        lens = made.find()
        if (lens == null) {
            end(Problem.Plain(R.string.problem_no_camera))
        } else {
            view.surfaceTexture?.takeIf { view.isAvailable }?.let(::film)
        }
    }

    private fun close() {
        camera?.stop()
        camera = null
        lens = null
    }

    private fun end(problem: Problem) {
        stop()
        onProblem(problem)
    }

    private fun film(texture: SurfaceTexture) {
        val found = lens ?: return
        camera?.start(found, texture)
        place()
    }

    private fun place() {
        val shown = lens ?: return
        val display = Viewfinder.degrees(view.display?.rotation ?: 0)
        turn = Viewfinder.turn(shown.sensor, display, shown.front)
        view.setTransform(
            Viewfinder.transform(
                shown.size,
                shown.sensor,
                display,
                view.width,
                view.height,
            ),
        )
    }

    private inner class Texture : TextureView.SurfaceTextureListener {
        override fun onSurfaceTextureAvailable(texture: SurfaceTexture, width: Int, height: Int) {
            if (filming && camera == null) open() else film(texture)
        }

        override fun onSurfaceTextureSizeChanged(texture: SurfaceTexture, width: Int, height: Int) =
            place()

        /** The camera must let go of it; another one follows, or `stop`. */
        override fun onSurfaceTextureDestroyed(texture: SurfaceTexture): Boolean {
            close()
            return true
        }

        override fun onSurfaceTextureUpdated(texture: SurfaceTexture) = Unit
    }
}
