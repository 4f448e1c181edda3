package org.kerascnn.demo.ui

import android.content.Context
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Color
import java.io.ByteArrayOutputStream
import java.io.File
import java.security.MessageDigest
import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicLong
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream
import org.json.JSONObject
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.kerascnn.demo.core.Answer
import org.kerascnn.demo.core.ModelDescription
import org.kerascnn.demo.core.Picture
import org.kerascnn.demo.core.ResultsCsv
import org.kerascnn.demo.core.Scored
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.GraphicsMode

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class RunActivityTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val runtime = Engines.current
    private val clock = BenchmarkWork.clock
    private val now = AtomicLong()
    private val opened = mutableListOf<String>()
    private val states = mutableSetOf<Pair<String, Int>>()
    private val place: File
        get() = File((RuntimeEnvironment.getApplication() as Context).filesDir, "phone")
    private var answer: (Picture) -> Answer = { picture ->
        val red = picture.width == 2 && picture.pixels[0] shr 16 and 0xff > 128
        Answer.Labels(listOf(Scored(if (red) 0 else 1, 1f)))
    }

    @Before
    fun fakeRuntime() {
        Engines.current = Engines { bytes, setup ->
            // What the process that ends here leaves behind.
            val told = status()
            opened += told.getString("file")
            states += told.getString("state") to setup.threads
            FakeAnswerer(ModelDescription.read(bytes)) { answer(it) }
        }
        BenchmarkWork.clock = { now.addAndGet(200_000_000) }
    }

    @After
    fun realRuntime() {
        Engines.current = runtime
        BenchmarkWork.clock = clock
    }

    private fun digest(bytes: ByteArray) =
        MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }

    private fun pushed(variant: String, task: String = "classification"): File {
        val bytes = Samples.model(Samples.json(variant = variant, task = task))
        return File(folder.root, "${digest(bytes)}.tflite").apply { writeBytes(bytes) }
    }

    private fun intent(vararg files: File) = Intent(RuntimeEnvironment.getApplication(), RunActivity::class.java)
        .putExtra("batch", "b1")
        .putExtra("job", "j1")
        .putExtra("files", files.map { it.path }.toTypedArray())
        .putExtra("threads", 2)
        .putExtra("gpu", false)
        .putExtra("seconds", 5)

    private fun status() = JSONObject(File(place, "status.json").readText())

    private fun row(file: File) = File(place, "j1/${file.nameWithoutExtension}-2-CPU.csv")

    private fun cells(file: File): Map<String, String> {
        val lines = row(file).readLines()
        assertEquals(2, lines.size)
        assertEquals(ResultsCsv.COLUMNS, lines[0].split(","))
        return ResultsCsv.COLUMNS.zip(lines[1].split(",")).toMap()
    }

    private fun started(intent: Intent): ActivityController<RunActivity> =
        Robolectric.buildActivity(RunActivity::class.java, intent).setup()

    private fun measured(intent: Intent): JSONObject {
        val controller = started(intent)
        Samples.await { status().getString("state") != "running" }
        controller.pause().stop().destroy()
        return status()
    }

    @Test
    fun `files are measured once, and each has a row`() {
        val (one, other) = pushed("float32") to pushed("int8")
        val told = measured(intent(one))
        assertEquals("done", told.getString("state"))
        assertEquals("b1", told.getString("batch"))
        assertEquals(List(3) { one.nameWithoutExtension }, opened)
        assertEquals(setOf("running" to 2), states)
        val row = cells(one)
        assertEquals(
            listOf("float32", "12.34", "3/3", "", "2", "CPU", one.nameWithoutExtension),
            listOf("variant", "latency_ms", "rounds", "ended", "threads", "accelerator", "sha256")
                .map(row::getValue),
        )
        opened.clear()
        assertEquals("done", measured(intent(one, other)).getString("state"))
        assertEquals(List(3) { other.nameWithoutExtension }, opened)
        assertEquals("int8", cells(other).getValue("variant"))
        opened.clear()
        measured(intent(one, other))
        assertEquals(emptyList<String>(), opened)
    }

    @Test
    fun `a zip of labelled pictures is judged`() {
        val zip = File(folder.root, "labelled.zip")
        ZipOutputStream(zip.outputStream()).use { out ->
            val pictures = listOf("cat/1.png" to Color.RED, "cat/2.png" to Color.BLUE, "dog/1.png" to Color.BLUE)
            for ((name, colour) in pictures) {
                val bytes = ByteArrayOutputStream()
                Bitmap.createBitmap(2, 2, Bitmap.Config.ARGB_8888).apply { eraseColor(colour) }
                    .compress(Bitmap.CompressFormat.PNG, 100, bytes)
                out.putNextEntry(ZipEntry(name))
                out.write(bytes.toByteArray())
            }
        }
        val file = pushed("float32")
        measured(intent(file).putExtra("labelled", zip.path))
        val row = cells(file)
        assertEquals(
            listOf("accuracy", "66.6667", "3"),
            listOf("metric", "value", "pictures").map(row::getValue),
        )
    }

    @Test
    fun `what cannot be measured is told, and takes nothing from the others`() {
        val sound = pushed("float32")
        val broken = File(folder.root, "${digest("broken".toByteArray())}.tflite").apply { writeText("broken") }
        val damaged = File(folder.root, "${"0".repeat(64)}.tflite").apply { writeBytes(pushed("int8").readBytes()) }
        val told = measured(intent(broken, sound, damaged))
        assertEquals("done", told.getString("state"))
        val note = told.getJSONArray("notes").getString(0)
        assertTrue(note, note.contains("This is no .tflite file."))
        assertEquals(1, told.getJSONArray("damaged").length())
        assertEquals("0".repeat(64), told.getJSONArray("damaged").getString(0))
        assertEquals(listOf(row(sound)), File(place, "j1").listFiles().orEmpty().toList())
    }

    @Test
    fun `leaving the screen breaks off, and is told`() {
        val begun = CountDownLatch(1)
        val go = CountDownLatch(1)
        val right = answer
        answer = {
            begun.countDown()
            go.await()
            right(it)
        }
        val file = pushed("float32")
        val controller = started(intent(file))
        Samples.await { begun.count == 0L }
        controller.pause().stop()
        go.countDown()
        Samples.await { status().getString("state") != "running" }
        assertEquals("background", status().getString("state"))
        assertTrue(!row(file).exists())
        controller.destroy()
    }

    @Test
    fun `an intent of something else ends it`() {
        for (bad in listOf(
            Intent(),
            intent(pushed("int8")).putExtra("job", "../x"),
            intent(File(folder.root, "a b.tflite")),
            intent(),
        )) {
            val activity = Robolectric.buildActivity(RunActivity::class.java, bad).create().get()
            assertTrue(activity.isFinishing)
        }
    }
}
