package org.kerascnn.demo.ui

import android.app.Activity
import android.content.ContentProvider
import android.content.ContentValues
import android.content.Intent
import android.database.Cursor
import android.database.MatrixCursor
import android.graphics.Bitmap
import android.graphics.Color
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.CheckBox
import android.widget.TextView
import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicLong
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Answer
import org.kerascnn.demo.core.ModelDescription
import org.kerascnn.demo.core.Picture
import org.kerascnn.demo.core.ResultsCsv
import org.kerascnn.demo.core.Scored
import org.kerascnn.demo.core.SelfTestResult
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowAlertDialog

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class BenchmarkActivityTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val runtime = Engines.current
    private val assets = Catalogue.assets
    private val clock = BenchmarkWork.clock
    private val now = AtomicLong()

    /** Cat where the picture is red, else dog. */
    private var answer: (Picture) -> Answer = { picture ->
        val red = picture.pixels[0] shr 16 and 0xff
        val label = if (picture.width == 2 && red > 128) 0 else 1
        Answer.Labels(listOf(Scored(label, 1f)))
    }

    @Before
    fun fakeRuntime() {
        Engines.current = Engines { bytes, _ ->
            val description = ModelDescription.read(bytes)
            val selfTest = SelfTestResult(0.0321, 0.001).takeIf { description.variant == "float32" }
            FakeAnswerer(description, selfTest) { answer(it) }
        }
        val files = listOf(
            "a.tflite" to Samples.model(Samples.json(variant = "float32")),
            "b.tflite" to Samples.model(Samples.json(task = "detection", model = "ssd")),
            "c.tflite" to "broken".toByteArray(),
        ).map { (name, bytes) -> Samples.file(folder.root, name, bytes) }
        Catalogue.assets = { files }
        // Tests wait for nobody: a look at the clock takes a fifth of a second.
        BenchmarkWork.clock = { now.addAndGet(200_000_000) }
    }

    @After
    fun realRuntime() {
        Engines.current = runtime
        Catalogue.assets = assets
        BenchmarkWork.clock = clock
    }

    private fun cells(activity: Activity): List<List<String>> {
        val table = activity.part<ViewGroup>(R.id.table)
        return (1 until table.childCount).map { at ->
            val row = table.getChildAt(at) as ViewGroup
            (1 until row.childCount).map { (row.getChildAt(it) as TextView).text.toString() }
        }
    }

    private fun box(activity: Activity, row: Int): CheckBox {
        val table = activity.part<ViewGroup>(R.id.table)
        return (table.getChildAt(row + 1) as ViewGroup).getChildAt(0) as CheckBox
    }

    private fun Activity.text(id: Int) = part<TextView>(id).text.toString()

    private fun Activity.awaitText(id: Int, text: String) = Samples.await { text(id) == text }

    private fun started() = Robolectric.buildActivity(BenchmarkActivity::class.java).setup().also {
        val last = "c.tflite: This is no .tflite file."
        Samples.await { it.get().text(R.id.table_note).startsWith(last) }
    }

    @Test
    fun `all models stand in the table, and broken ones cannot be ticked`() {
        val activity = started().get()
        val names = cells(activity).map { it[0] }
        assertEquals(listOf("mobilenet_v2 · float32", "ssd · int8", "c.tflite"), names)
        assertEquals(listOf(true, true, false), (0..2).map { box(activity, it).isEnabled })
        assertEquals("Measure ssd · int8", box(activity, 1).contentDescription)
    }

    @Test
    fun `times and accuracy are measured and shared, and a turn changes nothing`() {
        Robolectric.setupContentProvider(Documents::class.java, Documents.AUTHORITY)
        Documents.root = folder.newFolder("animals").also(::paint)
        val controller = started()
        var activity = controller.get()
        activity.part<View>(R.id.folder).performClick()
        val asked = shadowOf(activity).nextStartedActivityForResult.intent
        assertEquals(Intent.ACTION_OPEN_DOCUMENT_TREE, asked.action)
        val tree = DocumentsContract.buildTreeDocumentUri(Documents.AUTHORITY, "animals")
        shadowOf(activity).receiveResult(asked, Activity.RESULT_OK, Intent().setData(tree))
        assertEquals("Labelled folder: animals", activity.text(R.id.folder_text))
        activity.part<View>(R.id.measure).performClick()
        activity.awaitText(R.id.progress_text, "Measured.")
        // Two red cats and a blue one, a blue dog; one that is no picture; a bird is no label.
        val measured = listOf("12.3", "12.3", "75%", "differs by 3.2%")
        assertEquals(measured, cells(activity)[0].drop(2))
        assertEquals(listOf("12.3", "12.3", "–", "–"), cells(activity)[1].drop(2))
        assertEquals(listOf("–", "–", "–", "–"), cells(activity)[2].drop(2))
        assertTrue(activity.text(R.id.table_note).contains("could not be read and were left out: 1."))

        RuntimeEnvironment.setQualifiers("+land")
        controller.recreate()
        activity = controller.get()
        assertEquals(measured, cells(activity)[0].drop(2))

        activity.part<View>(R.id.share).performClick()
        val chooser = shadowOf(activity).nextStartedActivity
        val sent = checkNotNull(chooser.getParcelableExtra(Intent.EXTRA_INTENT, Intent::class.java))
        assertEquals("text/csv", sent.type)
        val uri = checkNotNull(sent.getParcelableExtra(Intent.EXTRA_STREAM, Uri::class.java))
        assertEquals(uri, checkNotNull(sent.clipData).getItemAt(0).uri)
        assertTrue(sent.flags and Intent.FLAG_GRANT_READ_URI_PERMISSION != 0)
        val lines = checkNotNull(activity.contentResolver.openInputStream(uri)).reader().readLines()
        assertEquals(ResultsCsv.COLUMNS, lines[0].split(","))
        assertEquals(ResultsProvider.uri(activity), uri)
        val first = ResultsCsv.COLUMNS.zip(lines[1].split(",")).toMap()
        assertEquals(3, lines.size)
        assertEquals(
            listOf("mobilenet_v2", "float32", "12.34", "accuracy", "75", "4", "a.tflite", "CPU"),
            listOf("model", "variant", "latency_ms", "metric", "value", "pictures", "file", "accelerator")
                .map(first::getValue),
        )
        assertEquals("differs by 3.2%", first["selftest"])
    }

    @Test
    fun `measuring can be broken off, and nothing half done is shown`() {
        val begun = CountDownLatch(1)
        val go = CountDownLatch(1)
        val right = answer
        answer = { picture ->
            begun.countDown()
            go.await()
            right(picture)
        }
        val activity = started().get()
        activity.part<View>(R.id.measure).performClick()
        assertEquals("Stop", activity.text(R.id.measure))
        assertFalse(activity.part<View>(R.id.folder).isEnabled)
        begun.await()
        activity.part<Button>(R.id.measure).performClick()
        go.countDown()
        activity.awaitText(R.id.progress_text, "Stopped.")
        assertEquals("Measure", activity.text(R.id.measure))
        for (row in cells(activity)) assertEquals(listOf("–", "–", "–", "–"), row.drop(2))
    }

    private fun shared(activity: Activity): List<Map<String, String>> {
        activity.part<View>(R.id.share).performClick()
        val uri = ResultsProvider.uri(activity)
        val lines = checkNotNull(activity.contentResolver.openInputStream(uri)).reader().readLines()
        return lines.drop(1).map { ResultsCsv.COLUMNS.zip(it.split(",")).toMap() }
    }

    @Test
    fun `leaving the screen breaks off, and rows say so`() {
        val begun = CountDownLatch(1)
        val go = CountDownLatch(1)
        var answers = 0
        val right = answer
        answer = { picture ->
            // Of five answers a time: both files have been timed once by then.
            if (++answers == 12) {
                begun.countDown()
                go.await()
            }
            right(picture)
        }
        val controller = started()
        val activity = controller.get()
        activity.part<View>(R.id.measure).performClick()
        begun.await()
        controller.pause().stop()
        go.countDown()
        controller.start().resume()
        activity.awaitText(R.id.progress_text, activity.getString(R.string.left))
        val rows = shared(activity)
        assertEquals(listOf("background", "background"), rows.map { it["ended"] })
        assertEquals(listOf("1/3", "1/3"), rows.map { it["rounds"] })
        assertTrue(activity.text(R.id.table_note).contains("broken off after"))
    }

    @Test
    fun `a file that fails takes nothing away, neither from others nor from itself`() {
        val right = Engines.current
        var opened = 0
        Engines.current = Engines { bytes, setup ->
            val model = right.open(bytes, setup)
            if (model.description.model == "ssd" && ++opened == 2) throw OutOfMemoryError()
            model
        }
        val activity = started().get()
        activity.part<View>(R.id.measure).performClick()
        activity.awaitText(R.id.progress_text, "Measured.")
        val rows = shared(activity)
        assertEquals(listOf("", "failed"), rows.map { it["ended"] })
        assertEquals(listOf("3/3", "1/3"), rows.map { it["rounds"] })
        assertEquals(listOf("12.34", "12.34"), rows.map { it["latency_ms"] })
        // Three looks at the clock a run, and 5/3 of a second a round.
        assertEquals(listOf("9", "3"), rows.map { it["runs"] })
        assertTrue(activity.text(R.id.table_note).contains("too little memory"))
    }

    @Test
    fun `nothing ticked, nothing measured`() {
        val activity = started().get()
        for (row in 0..1) box(activity, row).isChecked = false
        for (id in listOf(R.id.measure, R.id.share)) {
            activity.part<View>(id).performClick()
            val told = shadowOf(ShadowAlertDialog.getLatestAlertDialog()).message
            assertEquals(activity.getString(R.string.nothing_measured), told.toString())
        }
    }

    @Test
    @Config(sdk = [24], qualifiers = "ko")
    @GraphicsMode(GraphicsMode.Mode.LEGACY)
    fun `it starts on the oldest Android, in Korean`() {
        val activity = Robolectric.buildActivity(BenchmarkActivity::class.java).setup().get()
        Samples.await { cells(activity)[0][0] == "mobilenet_v2 · float32" }
        assertEquals("측정", activity.text(R.id.measure))
    }

    private fun paint(root: File) {
        val pictures = mapOf(
            "cat/1.png" to Color.RED,
            "cat/2.png" to Color.RED,
            "cat/3.png" to Color.BLUE,
            "dog/1.png" to Color.BLUE,
            "bird/1.png" to Color.RED,
        )
        for ((name, colour) in pictures) {
            val file = File(root, name).apply { parentFile?.mkdirs() }
            val bitmap = Bitmap.createBitmap(2, 2, Bitmap.Config.ARGB_8888).apply { eraseColor(colour) }
            file.outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
        }
        File(root, "dog/2.png").writeText("no picture")
        File(root, "dog/notes.txt").writeText("no picture either")
    }

    /** A folder as a phone's file manager hands it out. */
    class Documents : ContentProvider() {
        override fun onCreate() = true

        private fun file(uri: Uri) =
            File(root.parentFile, DocumentsContract.getDocumentId(uri))

        override fun query(
            uri: Uri,
            projection: Array<out String>?,
            selection: String?,
            selectionArgs: Array<out String>?,
            sortOrder: String?,
        ): Cursor {
            val columns = checkNotNull(projection)
            val cursor = MatrixCursor(columns)
            for (child in file(uri).listFiles().orEmpty().sortedDescending()) {
                val told = mapOf(
                    Document.COLUMN_DOCUMENT_ID to child.relativeTo(checkNotNull(root.parentFile)).path,
                    Document.COLUMN_DISPLAY_NAME to child.name,
                    Document.COLUMN_MIME_TYPE to when {
                        child.isDirectory -> Document.MIME_TYPE_DIR
                        child.extension == "png" -> "image/png"
                        else -> "text/plain"
                    },
                )
                cursor.addRow(columns.map { told[it] })
            }
            return cursor
        }

        override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor =
            ParcelFileDescriptor.open(file(uri), ParcelFileDescriptor.MODE_READ_ONLY)

        override fun getType(uri: Uri): String? = null

        override fun insert(uri: Uri, values: ContentValues?): Uri? = null

        override fun update(uri: Uri, values: ContentValues?, where: String?, args: Array<out String>?) = 0

        override fun delete(uri: Uri, where: String?, args: Array<out String>?) = 0

        companion object {
            const val AUTHORITY = "org.kerascnn.demo.test.documents"
            lateinit var root: File
        }
    }
}
