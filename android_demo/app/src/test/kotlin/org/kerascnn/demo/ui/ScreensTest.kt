package org.kerascnn.demo.ui

import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Canvas
import android.net.Uri
import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import java.io.File
import org.json.JSONArray
import org.json.JSONObject
import org.junit.After
import org.junit.Assume.assumeTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Answer
import org.kerascnn.demo.core.Answerer
import org.kerascnn.demo.core.Engine
import org.kerascnn.demo.core.ModelDescription
import org.kerascnn.demo.core.Picture
import org.kerascnn.demo.core.PipedNetwork
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.GraphicsMode

/**
 * Pictures of the screens for benchmarks/android_screens.py; without being asked by it, there is
 * nothing to do. The answers are real: the networks run in Python's LiteRT, behind a pipe.
 */
@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class ScreensTest {
    private val path: String? = System.getenv("KERASCNN_SCREENS")
    private val asked by lazy { JSONObject(File(checkNotNull(path)).readText()) }
    private val runtime = Engines.current
    private val assets = Catalogue.assets

    private fun JSONArray.strings(): List<String> = List(length()) { getString(it) }

    @Before
    fun pythonsRuntime() {
        assumeTrue("benchmarks/android_screens.py asks", path != null)
        Catalogue.assets = {
            asked.getJSONArray("models").strings().map { ModelFile.Opened(Uri.fromFile(File(it))) }
        }
        Engines.current = Engines { bytes, _ ->
            val file = File.createTempFile("model", ".tflite")
            file.writeBytes(ByteArray(bytes.limit()).also { bytes.duplicate().get(it) })
            file.deleteOnExit()
            val command = asked.getJSONArray("runtime").strings() + file.path
            Timed(Engine.opened(ModelDescription.read(bytes), PipedNetwork(command)))
        }
    }

    /** The pipe does not tell how long the network took: the whole answer is timed. */
    private class Timed(private val engine: Engine) : Answerer by engine {
        override var lastNanos = 0L
            private set

        override fun answer(picture: Picture): Answer {
            val start = System.nanoTime()
            return engine.answer(picture).also { lastNanos = System.nanoTime() - start }
        }
    }

    @After
    fun realRuntime() {
        Engines.current = runtime
        Catalogue.assets = assets
    }

    @Test
    fun `screens are drawn`() {
        val screens = asked.getJSONArray("screens")
        for (at in 0 until screens.length()) draw(screens.getJSONObject(at))
    }

    private fun draw(screen: JSONObject) {
        RuntimeEnvironment.setQualifiers(screen.getString("qualifiers"))
        val model = screen.optString("model").takeIf(String::isNotEmpty)
        Preferences(RuntimeEnvironment.getApplication()).model =
            model?.let { ModelFile.Opened(Uri.fromFile(File(it))).key }
        val picture = screen.optString("picture").takeIf(String::isNotEmpty)
        val controller = if (screen.optBoolean("benchmark")) {
            Robolectric.buildActivity(BenchmarkActivity::class.java).setup()
        } else {
            Robolectric.buildActivity(MainActivity::class.java).setup()
        }
        val activity = controller.get()
        when {
            activity is BenchmarkActivity -> measured(activity)
            picture != null -> answered(activity, Uri.fromFile(File(picture)))
            screen.optBoolean("denied") -> activity.onRequestPermissionsResult(3, arrayOf(""), intArrayOf(-1))
        }
        Samples.await { true }
        save(activity.window.decorView, File(asked.getString("folder"), screen.getString("name")))
        controller.pause().stop().destroy()
    }

    private fun answered(activity: Activity, picture: Uri) {
        activity.part<View>(R.id.picture).performClick()
        val intent = shadowOf(activity).nextStartedActivityForResult.intent
        shadowOf(activity).receiveResult(intent, Activity.RESULT_OK, Intent().setData(picture))
        Samples.await { activity.part<ViewGroup>(R.id.answers).childCount > 0 }
    }

    private fun measured(activity: BenchmarkActivity) {
        val count = Catalogue.assets(activity).size
        Samples.await {
            val table = activity.part<ViewGroup>(R.id.table)
            val last = table.getChildAt(count) as ViewGroup
            (last.getChildAt(2) as TextView).text != activity.getString(R.string.no_value)
        }
        activity.part<View>(R.id.measure).performClick()
        Samples.await {
            activity.part<TextView>(R.id.progress_text).text == activity.getString(R.string.measured)
        }
    }

    private fun save(view: View, file: File) {
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
        view.draw(Canvas(bitmap))
        file.outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
    }
}
