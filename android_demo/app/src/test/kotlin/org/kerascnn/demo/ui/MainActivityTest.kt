package org.kerascnn.demo.ui

import android.Manifest
import android.app.Activity
import android.content.Intent
import android.content.pm.PackageManager
import android.net.Uri
import android.os.Build
import android.provider.MediaStore
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ImageButton
import android.widget.TextView
import java.io.File
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Answer
import org.kerascnn.demo.core.Detection
import org.kerascnn.demo.core.ModelDescription
import org.kerascnn.demo.core.ModelProblem
import org.kerascnn.demo.core.Picture
import org.kerascnn.demo.core.Scored
import org.kerascnn.demo.core.SelfTestResult
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowAlertDialog

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [24, 35], qualifiers = "w400dp-h800dp")
class MainActivityTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val runtime = Engines.current
    private val assets = Catalogue.assets
    private var opened = 0
    private var selfTest: SelfTestResult? = null
    private var answer: (Picture) -> Answer = { Answer.Labels(listOf(Scored(0, 0.75f), Scored(1, 0.25f))) }

    @Before
    fun fakeRuntime() {
        Engines.current = Engines { bytes, _ ->
            opened++
            FakeAnswerer(ModelDescription.read(bytes), selfTest) { answer(it) }
        }
        Catalogue.assets = { emptyList() }
    }

    @After
    fun realRuntime() {
        Engines.current = runtime
        Catalogue.assets = assets
    }

    private fun models(vararg files: Pair<String, ByteArray>) {
        val made = files.map { (name, bytes) -> Samples.file(folder.root, name, bytes) }
        Catalogue.assets = { made }
    }

    private fun twoModels() = models(
        "a.tflite" to Samples.model(Samples.json(variant = "float32")),
        "b.tflite" to Samples.model(Samples.json(variant = "int8")),
    )

    private fun started(): ActivityController<MainActivity> =
        Robolectric.buildActivity(MainActivity::class.java).setup()

    private fun Activity.told(): String? =
        part<TextView>(R.id.message_text).text.toString()
            .takeIf { part<View>(R.id.message).visibility == View.VISIBLE }

    private fun Activity.model(): String = part<Button>(R.id.choose_model).text.toString()

    private fun Activity.awaitModel(title: String) = Samples.await { model() == title }

    private fun Activity.click(id: Int) = assertTrue(part<View>(id).performClick())

    private fun Activity.deny() {
        click(R.id.camera)
        val asked = checkNotNull(shadowOf(this).lastRequestedPermission)
        assertEquals(listOf(Manifest.permission.CAMERA), asked.requestedPermissions.toList())
        val denied = intArrayOf(PackageManager.PERMISSION_DENIED)
        onRequestPermissionsResult(asked.requestCode, asked.requestedPermissions, denied)
    }

    @Test
    fun `without models it says how to get some`() {
        val activity = started().get()
        assertEquals(activity.getString(R.string.no_models), activity.told())
        assertEquals("Choose a model", activity.part<Button>(R.id.message_action).text)
    }

    @Test
    fun `the first model opens, and nothing asks for the camera unasked`() {
        twoModels()
        val activity = started().get()
        activity.awaitModel("mobilenet_v2 · float32")
        assertEquals(activity.getString(R.string.hint), activity.told())
        assertEquals(null, shadowOf(activity).lastRequestedPermission)
    }

    private fun Activity.status(): String = part<TextView>(R.id.status).text.toString()

    @Test
    fun `it tells whether a model answers as its file says, and by how much not`() {
        twoModels()
        for ((result, told) in listOf(
            null to "",
            SelfTestResult(0.0001, 0.001) to "verified",
            SelfTestResult(0.0321, 0.001) to "differs by 3.2%",
            SelfTestResult(Double.POSITIVE_INFINITY, 0.001) to "answers are no numbers",
        )) {
            selfTest = result
            val controller = started()
            val activity = controller.get()
            activity.awaitModel("mobilenet_v2 · float32")
            assertEquals(told, activity.status())
            val differs = result?.verified == false
            val colour = activity.getColor(if (differs) R.color.warning else R.color.muted)
            assertEquals(colour, activity.part<TextView>(R.id.status).currentTextColor)
            activity.click(R.id.about)
            val about = shadowOf(ShadowAlertDialog.getLatestAlertDialog()).message.toString()
            val threads = activity.resources.getQuantityString(R.plurals.cpu_threads, 2, 2)
            val line = if (result == null) "none inside" else "$threads: $told (at most 0.1%)"
            assertTrue(about, line in about.replace(Regex("CPU, \\d+ threads?"), threads))
            controller.pause().stop().destroy()
        }
    }

    @Test
    fun `a denied camera is told, with the way to still pictures`() {
        twoModels()
        val activity = started().get()
        activity.awaitModel("mobilenet_v2 · float32")
        activity.deny()
        assertEquals(activity.getString(R.string.problem_camera_denied), activity.told())
        assertEquals("Camera", activity.part<Button>(R.id.camera).text)
        activity.click(R.id.message_action)
        val intent = shadowOf(activity).nextStartedActivityForResult.intent
        val picker = if (Build.VERSION.SDK_INT >= 33) {
            MediaStore.ACTION_PICK_IMAGES
        } else {
            Intent.ACTION_OPEN_DOCUMENT
        }
        assertEquals(picker, intent.action)
        assertEquals("image/*", intent.type)
    }

    @Test
    fun `a denied camera stays told when the phone turns`() {
        twoModels()
        val controller = started()
        controller.get().awaitModel("mobilenet_v2 · float32")
        controller.get().deny()
        controller.recreate()
        val activity = controller.get()
        Samples.await { activity.told() == activity.getString(R.string.problem_camera_denied) }
    }

    @Test
    fun `a phone without a camera says so`() {
        twoModels()
        shadowOf(RuntimeEnvironment.getApplication()).grantPermissions(Manifest.permission.CAMERA)
        val activity = started().get()
        activity.awaitModel("mobilenet_v2 · float32")
        activity.click(R.id.camera)
        assertEquals(activity.getString(R.string.problem_no_camera), activity.told())
    }

    @Test
    fun `the settings say what becomes of pictures`() {
        val activity = started().get()
        activity.click(R.id.settings)
        val view = shadowOf(checkNotNull(ShadowAlertDialog.getLatestAlertDialog())).view
        assertEquals(activity.getString(R.string.privacy), view.part<TextView>(R.id.privacy).text.toString())
    }

    @Test
    fun `a turned phone keeps the chosen model, and does not load it again`() {
        twoModels()
        val controller = started()
        controller.get().awaitModel("mobilenet_v2 · float32")
        controller.get().click(R.id.choose_model)
        val list = checkNotNull(ShadowAlertDialog.getLatestAlertDialog())
        shadowOf(list.listView).performItemClick(1)
        controller.get().awaitModel("mobilenet_v2 · int8")
        assertEquals(2, opened)
        RuntimeEnvironment.setQualifiers("+w800dp-h400dp-land")
        controller.recreate()
        assertEquals("mobilenet_v2 · int8", controller.get().model())
        assertEquals(2, opened)
    }

    @Test
    fun `the next start has the chosen model`() {
        twoModels()
        Preferences(RuntimeEnvironment.getApplication()).model = Catalogue.assets(
            RuntimeEnvironment.getApplication(),
        )[1].key
        started().get().awaitModel("mobilenet_v2 · int8")
    }

    @Test
    fun `broken files are told, each in its own words`() {
        val sound = Samples.model(Samples.json())
        val broken = mapOf(
            "This is no .tflite file." to "no model at all".toByteArray(),
            "This file does not say how it wants its pictures." to "....TFL3 and no more".toByteArray(),
            "This file is of a newer form (99)" to
                Samples.model(Samples.json().replace("\"format\": 1", "\"format\": 99")),
            "This file's task (poetry) is not one" to
                Samples.model(Samples.json().replace("classification", "poetry")),
            "This model file is damaged" to Samples.model(Samples.json().replace("\"height\": 32", "\"height\": -1")),
            "The file cannot be read" to ByteArray(0),
        )
        for ((told, bytes) in broken) {
            models("broken.tflite" to bytes, "sound.tflite" to sound)
            if (bytes.isEmpty()) File(folder.root, "broken.tflite").delete()
            Preferences(RuntimeEnvironment.getApplication()).model = null
            val controller = started()
            val activity = controller.get()
            Samples.await { activity.told().orEmpty().startsWith(told) }
            assertEquals("broken.tflite", activity.model())
            assertEquals("Choose a model", activity.part<Button>(R.id.message_action).text)
            controller.pause().stop().destroy()
        }
    }

    @Test
    fun `a runtime that fails is told, and another model can be chosen`() {
        twoModels()
        Engines.current = Engines { bytes, _ ->
            FakeAnswerer(ModelDescription.read(bytes)) {
                throw ModelProblem(ModelProblem.Kind.RUNTIME, "out of luck")
            }
        }
        val activity = started().get()
        activity.awaitModel("mobilenet_v2 · float32")
        shadowOf(activity).receiveResult(pick(activity), Activity.RESULT_OK, Intent().setData(picture()))
        Samples.await { activity.told().orEmpty().contains("out of luck") }
        activity.click(R.id.message_action)
        assertNotNull(ShadowAlertDialog.getLatestAlertDialog())
    }

    @Test
    fun `a broken file that the user opens is told and not kept`() {
        twoModels()
        val activity = started().get()
        activity.awaitModel("mobilenet_v2 · float32")
        open(activity, Samples.file(folder.root, "c.tflite", "nothing".toByteArray()).uri)
        Samples.await { ShadowAlertDialog.getLatestAlertDialog()?.isShowing == true }
        val told = shadowOf(ShadowAlertDialog.getLatestAlertDialog()).message
        assertEquals(activity.getString(R.string.problem_not_a_model), told.toString())
        assertEquals("mobilenet_v2 · float32", activity.model())
        assertEquals(emptyList<String>(), Preferences(activity).opened)
    }

    @Test
    fun `a file that the user opens is used and kept`() {
        twoModels()
        val activity = started().get()
        activity.awaitModel("mobilenet_v2 · float32")
        val own = Samples.model(Samples.json(model = "mine"))
        open(activity, Samples.file(folder.root, "mine.tflite", own).uri)
        activity.awaitModel("mine · int8")
        assertEquals(1, Preferences(activity).opened.size)
    }

    private fun open(activity: Activity, uri: Uri) {
        activity.click(R.id.choose_model)
        val list = checkNotNull(ShadowAlertDialog.getLatestAlertDialog())
        shadowOf(list.listView).performItemClick(2)
        list.dismiss()
        val asked = shadowOf(activity).nextStartedActivityForResult
        assertEquals(Intent.ACTION_OPEN_DOCUMENT, asked.intent.action)
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_OK, Intent().setData(uri))
    }

    private fun pick(activity: Activity): Intent {
        activity.click(R.id.picture)
        return shadowOf(activity).nextStartedActivityForResult.intent
    }

    /** A PNG of one red pixel. */
    private fun picture(): Uri {
        val file = File(folder.root, "red.png")
        file.writeBytes(java.util.Base64.getDecoder().decode(RED))
        return Uri.fromFile(file)
    }

    @Test
    @Config(sdk = [35])
    @GraphicsMode(GraphicsMode.Mode.NATIVE)
    fun `a still picture is answered, before and after a turn`() {
        twoModels()
        val controller = started()
        var activity: Activity = controller.get()
        activity.awaitModel("mobilenet_v2 · float32")
        val seen = mutableListOf<Picture>()
        answer = { picture ->
            seen += picture
            Answer.Labels(listOf(Scored(1, 0.75f), Scored(0, 0.25f)))
        }
        shadowOf(activity).receiveResult(pick(activity), Activity.RESULT_OK, Intent().setData(picture()))
        for (turn in 0..1) {
            Samples.await { rows(activity).isNotEmpty() }
            assertEquals(listOf("dog" to "75%", "cat" to "25%"), rows(activity))
            assertEquals(null, activity.told())
            val stage = activity.part<View>(R.id.stage)
            assertEquals("Picture: dog 75%, cat 25%", stage.contentDescription)
            controller.recreate()
            activity = controller.get()
        }
        assertEquals(1, seen.size)
        assertEquals(0xff0000, seen.single().pixels.single())
    }

    @Test
    @Config(sdk = [35])
    @GraphicsMode(GraphicsMode.Mode.NATIVE)
    fun `boxes below the lowest score are left out`() {
        models("d.tflite" to Samples.model(Samples.json(task = "detection", model = "ssd")))
        val activity = started().get()
        activity.awaitModel("ssd · int8")
        answer = {
            Answer.Boxes(
                listOf(
                    Detection(0, 0.9f, 0f, 0f, 1f, 1f),
                    Detection(2, 0.31f, 0f, 0f, 0.5f, 0.5f),
                    Detection(1, 0.29f, 0f, 0f, 0.5f, 0.5f),
                ),
            )
        }
        shadowOf(activity).receiveResult(pick(activity), Activity.RESULT_OK, Intent().setData(picture()))
        Samples.await { rows(activity).isNotEmpty() }
        assertEquals(listOf("cat" to "0.90", "horse" to "0.31"), rows(activity))
        assertEquals(View.VISIBLE, activity.part<View>(R.id.threshold_row).visibility)
    }

    @Test
    @Config(sdk = [35])
    @GraphicsMode(GraphicsMode.Mode.NATIVE)
    fun `what is no picture is told`() {
        twoModels()
        val activity = started().get()
        activity.awaitModel("mobilenet_v2 · float32")
        val uri = Samples.file(folder.root, "no.png", "no picture".toByteArray()).uri
        shadowOf(activity).receiveResult(pick(activity), Activity.RESULT_OK, Intent().setData(uri))
        Samples.await { ShadowAlertDialog.getLatestAlertDialog()?.isShowing == true }
        val told = shadowOf(ShadowAlertDialog.getLatestAlertDialog()).message
        assertEquals(activity.getString(R.string.problem_picture), told.toString())
        assertEquals(activity.getString(R.string.hint), activity.told())
    }

    private fun rows(activity: Activity): List<Pair<String, String>> {
        val list = activity.part<ViewGroup>(R.id.answers)
        return List(list.childCount) { list.getChildAt(it) }.map { row ->
            row.part<TextView>(R.id.label).text.toString() to
                row.part<TextView>(R.id.share).text.toString()
        }
    }

    @Test
    @Config(qualifiers = "ko-w400dp-h800dp")
    fun `it speaks Korean`() {
        val activity = started().get()
        assertEquals("모델 선택", activity.model())
        assertEquals("카메라", activity.part<Button>(R.id.camera).text)
    }

    @Test
    @Config(qualifiers = "w400dp-h800dp-night")
    fun `it starts in the dark, in dark colours`() {
        val activity = started().get()
        assertEquals(0xff161b22.toInt(), activity.getColor(R.color.ground))
        assertFalse(activity.resources.getBoolean(R.bool.light_bars))
        assertEquals(activity.getString(R.string.no_models), activity.told())
    }

    @Test
    @Config(qualifiers = "w320dp-h480dp")
    fun `what can be touched is large enough, and has a name`() {
        for (activity in listOf(
            started().get(),
            Robolectric.buildActivity(BenchmarkActivity::class.java).setup().get(),
        )) {
            val least = 48 * activity.resources.displayMetrics.density
            val touched = views(activity.part<View>(R.id.root)).filter { it.isClickable && it.isShown }
            assertTrue("${touched.size}", touched.size > 4)
            for (view in touched) {
                val name = "${activity.javaClass.simpleName} ${view.resources.getResourceEntryName(view.id)}"
                assertTrue("$name is ${view.width} x ${view.height}", minOf(view.width, view.height) >= least)
                assertTrue(name, view !is ImageButton || !view.contentDescription.isNullOrEmpty())
            }
        }
    }

    private fun views(view: View): List<View> =
        listOf(view) + if (view is ViewGroup) (0 until view.childCount).flatMap { views(view.getChildAt(it)) } else emptyList()

    private companion object {
        const val RED = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
    }
}
