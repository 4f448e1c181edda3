package org.kerascnn.demo.ui

import android.graphics.Bitmap
import android.graphics.Color
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.IOException
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.GraphicsMode

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class JudgingTest {
    private fun picture(): ByteArray = ByteArrayOutputStream().also { out ->
        Bitmap.createBitmap(4, 3, Bitmap.Config.ARGB_8888).apply { eraseColor(Color.RED) }
            .compress(Bitmap.CompressFormat.PNG, 100, out)
    }.toByteArray()

    private fun files(vararg named: Pair<String, ByteArray>) = object : LabelledFiles {
        override fun all() = named.map { (path, bytes) ->
            LabelledFile(path, path.endsWith(".png")) { ByteArrayInputStream(bytes) }
        }
    }

    private fun metrics(): JSONObject =
        JSONObject(checkNotNull(JudgingTest::class.java.getResource("/metrics.json")).readText())

    @Test
    fun `a COCO json of any order is read`() {
        val cases = metrics().getJSONArray("average_precision")
        for (at in 0 until cases.length()) {
            val case = cases.getJSONObject(at)
            val (data, labels) = case.getJSONObject("coco") to listOf("c", "bär", "고양이")
            val truth = CocoTruth.read(ByteArrayInputStream(data.toString().toByteArray()))
            assertEquals((0..6).map { "$it.png" }.toSet(), truth.names.toSet())
            val objects = data.getJSONArray("annotations").let { List(it.length(), it::getJSONObject) }
            for ((name, boxes) in truth.of(labels)) {
                val own = objects.filter { "${it.getInt("image_id")}.png" == name }
                assertEquals(own.map { (it.getInt("category_id") - 10 + 1) % 3 }, boxes.map { it.label })
                assertEquals(own.map { it.getInt("iscrowd") == 1 }, boxes.map { it.crowd })
                assertEquals(own.map { it.getJSONArray("bbox").getDouble(2) }, boxes.map { it.width })
            }
            // Classes that the file does not know are not to be found by it.
            assertEquals(listOf(0), truth.of(listOf("bär")).values.flatten().map { it.label }.distinct())
        }
    }

    @Test
    fun `files that are no COCO json are refused`() {
        val broken = listOf(
            "", "[]", "{", "{}", """{"images": 3}""", """{"images": [{"id": "x", "file_name": "a"}]}""",
            """{"images": [{"id": 1}]}""", """{"images": [{"id": 1, "file_name": "a.png"}]}""",
            """{"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3]}]}""",
            """{"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, -3, 4]}]}""",
            """{"annotations": [{"image_id": 1, "category_id": 1}]}""",
            """{"other": ${"[".repeat(100_000)}""",
        )
        for (text in broken) {
            assertThrows(text.take(40), IOException::class.java) {
                CocoTruth.read(ByteArrayInputStream(text.toByteArray()))
            }
        }
    }

    private fun coco(vararg names: String) = JSONObject()
        .put("images", JSONArray(names.mapIndexed { at, name -> JSONObject().put("id", at).put("file_name", name) }))
        .put("categories", JSONArray("""[{"id": 1, "name": "cat"}]"""))
        .put(
            "annotations",
            JSONArray("""[{"image_id": 0, "category_id": 1, "bbox": [1, 1, 2, 2], "iscrowd": false}]"""),
        )
        .toString().toByteArray()

    @Test
    fun `pictures of a json are found beside it, below it or by their names`() {
        val judging = Judging(
            files(
                "train/a.json" to coco("a.png", "sub/b.png", "c.png", "d.png", "gone.png"),
                "train/a.png" to picture(),
                "train/sub/b.png" to picture(),
                "images/c.png" to picture(),
                "far/away/d.png" to picture(),
            ),
        )
        val (boxed, unknown) = checkNotNull(judging.boxed(listOf("dog", "cat")))
        assertEquals(0, unknown)
        assertEquals(listOf(1, 0, 0, 0, 0), boxed.map { it.there.size })
        assertEquals(1, boxed[0].there[0].label)
        assertEquals(listOf(4, 4, 4, 4, null), boxed.map { it.read()?.width })
        assertEquals(emptyList<Any>() to 5, judging.boxed(listOf("bird")))
        assertNull(Judging(files("a.png" to picture())).boxed(listOf("cat")))
        assertThrows(IOException::class.java) {
            Judging(files("a.json" to "no".toByteArray())).boxed(listOf("cat"))
        }
    }

    @Test
    fun `masks belong to pictures by their names`() {
        val judging = Judging(
            files(
                "images/a.png" to picture(),
                "images/val/b.png" to picture(),
                "images/c.png" to picture(),
                "masks/a.png" to picture(),
                "masks/val/b_mask.png" to picture(),
            ),
        )
        val masked = checkNotNull(judging.masked())
        assertEquals(2, masked.size)
        assertNotNull(masked[0].read())
        // What is no map of numbers is none.
        assertNull(masked[0].mask())
        assertNull(Judging(files("images/a.png" to picture())).masked())
        assertEquals(listOf("images", "images", "masks"), judging.labelled().map { it.label })
    }
}
