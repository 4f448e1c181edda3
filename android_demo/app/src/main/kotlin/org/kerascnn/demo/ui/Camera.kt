package org.kerascnn.demo.ui

import android.annotation.SuppressLint
import android.content.Context
import android.graphics.ImageFormat
import android.graphics.SurfaceTexture
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.hardware.camera2.CaptureRequest
import android.hardware.camera2.params.OutputConfiguration
import android.hardware.camera2.params.SessionConfiguration
import android.media.ImageReader
import android.os.Build
import android.os.Handler
import android.os.HandlerThread
import android.os.Looper
import android.util.Size
import android.view.Surface
import org.kerascnn.demo.core.YuvFrame

/**
 * The phone's camera: shown on a SurfaceTexture, and handed on frame by frame.
 *
 * Everything of it happens on a thread of its own; `stop` may be called at any time. A frame that
 * nobody waits for is dropped before it is looked at.
 *
 * @param wanted whether a frame would be looked at now; asked on the camera's thread.
 * @param onFrame a frame in the sensor's orientation, which is gone when the call returns; called on
 *     the camera's thread.
 * @param onProblem what went wrong; called on the main thread, once, after which nothing comes.
 */
class Camera(
    private val context: Context,
    private val wanted: () -> Boolean,
    private val onFrame: (YuvFrame) -> Unit,
    private val onProblem: (Problem) -> Unit,
) {
    /** A camera and how its buffers lie. */
    class Lens(val id: String, val sensor: Int, val front: Boolean, val size: Size)

    private val manager = context.service<CameraManager>()
    private val main = Handler(Looper.getMainLooper())
    private val thread = HandlerThread("camera").apply { start() }
    private val handler = Handler(thread.looper)

    // Of the camera's thread alone.
    private var device: CameraDevice? = null
    private var reader: ImageReader? = null
    private var surface: Surface? = null

    @Volatile private var stopped = false

    /** The back camera, or the first one there is; null without a camera. */
    fun find(): Lens? = try {
        val lenses = manager.cameraIdList.mapNotNull { lens(it) }
        lenses.firstOrNull { !it.front } ?: lenses.firstOrNull()
    } catch (_: CameraAccessException) {
        null
    }

    /** Open a camera; the caller has asked for the permission. */
    fun start(lens: Lens, texture: SurfaceTexture) {
        texture.setDefaultBufferSize(lens.size.width, lens.size.height)
        handler.post { guarded { open(lens, texture) } }
    }

    /** Close everything; a frame on its way is the last one. */
    fun stop() {
        if (stopped) return
        stopped = true
        handler.post {
            release()
            thread.quitSafely()
        }
    }

    private fun lens(id: String): Lens? {
        val known = manager.getCameraCharacteristics(id)
        val sizes = known[CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP] ?: return null
        val frames = sizes.getOutputSizes(ImageFormat.YUV_420_888).orEmpty().toList()
        val screen = sizes.getOutputSizes(SurfaceTexture::class.java).orEmpty().toList()
        val size = Viewfinder.chooseSize(frames, screen) ?: return null
        val facing = known[CameraCharacteristics.LENS_FACING]
        return Lens(
            id,
            known[CameraCharacteristics.SENSOR_ORIENTATION] ?: 0,
            facing == CameraCharacteristics.LENS_FACING_FRONT,
            size,
        )
    }

    @SuppressLint("MissingPermission") // a SecurityException is reported like any other problem
    private fun open(lens: Lens, texture: SurfaceTexture) {
        if (stopped) return
        manager.openCamera(lens.id, Opened(lens, texture), handler)
    }

    private inner class Opened(private val lens: Lens, private val texture: SurfaceTexture) :
        CameraDevice.StateCallback() {
        override fun onOpened(camera: CameraDevice) {
            device = camera
            if (stopped) release() else guarded { show(camera, lens, texture) }
        }

        override fun onDisconnected(camera: CameraDevice) {
            camera.close()
            fail("disconnected")
        }

        override fun onError(camera: CameraDevice, error: Int) {
            camera.close()
            fail("error $error")
        }
    }

    private fun show(camera: CameraDevice, lens: Lens, texture: SurfaceTexture) {
        val frames = ImageReader.newInstance(
            lens.size.width,
            lens.size.height,
            ImageFormat.YUV_420_888,
            2,
        )
        val screen = Surface(texture)
        reader = frames
        surface = screen
        frames.setOnImageAvailableListener(::take, handler)
        val request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW).apply {
            addTarget(screen)
            addTarget(frames.surface)
            focus(lens.id)?.let { set(CaptureRequest.CONTROL_AF_MODE, it) }
        }
        val callback = object : CameraCaptureSession.StateCallback() {
            override fun onConfigured(session: CameraCaptureSession) = guarded {
                if (!stopped) session.setRepeatingRequest(request.build(), null, handler)
            }

            override fun onConfigureFailed(session: CameraCaptureSession) = fail("configuration")
        }
        capture(camera, listOf(screen, frames.surface), callback)
    }

    private fun capture(
        camera: CameraDevice,
        surfaces: List<Surface>,
        callback: CameraCaptureSession.StateCallback,
    ) {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) {
            camera.createCaptureSession(
                SessionConfiguration(
                    SessionConfiguration.SESSION_REGULAR,
                    surfaces.map(::OutputConfiguration),
                    { handler.post(it) },
                    callback,
                ),
            )
        } else {
            @Suppress("DEPRECATION")
            camera.createCaptureSession(surfaces, callback, handler)
        }
    }

    private fun focus(id: String): Int? {
        val known = manager.getCameraCharacteristics(id)
        val modes = known[CameraCharacteristics.CONTROL_AF_AVAILABLE_MODES] ?: return null
        return CaptureRequest.CONTROL_AF_MODE_CONTINUOUS_PICTURE.takeIf { it in modes }
    }

    private fun take(frames: ImageReader) {
        val image = frames.acquireLatestImage() ?: return
        image.use { if (!stopped && wanted()) onFrame(Frames.of(it)) }
    }

    /** A camera can be gone at any call: that is reported, and never thrown. */
    private fun guarded(work: () -> Unit) {
        try {
            work()
        } catch (problem: CameraAccessException) {
            fail(problem.message ?: "${problem.reason}")
        } catch (problem: SecurityException) {
            fail(problem.message ?: "permission")
        } catch (problem: IllegalStateException) {
            fail(problem.message ?: "closed")
        } catch (problem: IllegalArgumentException) {
            fail(problem.message ?: "configuration")
        }
    }

    private fun fail(detail: String) {
        release()
        if (stopped) return
        main.post { if (!stopped) onProblem(Problem.CameraStopped(detail)) }
    }

    private fun release() {
        device?.close()
        device = null
        reader?.close()
        reader = null
        surface?.release()
        surface = null
    }
}
