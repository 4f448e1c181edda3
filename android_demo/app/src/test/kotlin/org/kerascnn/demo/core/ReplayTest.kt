package org.kerascnn.demo.core

import java.io.DataInputStream
import java.io.File
import java.nio.ByteBuffer
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assume.assumeTrue
import org.junit.Test

/**
 * Answers pictures as the app does, for benchmarks/clients.py, which compares them with Python's;
 * without being asked by it, there is nothing to do.
 *
 * No runtime of Android loads here, so the networks run in Python's LiteRT, behind a pipe.
 */
class ReplayTest {
    @Test
    fun `pictures are answered`() {
        val path = System.getenv("KERASCNN_REPLAY")
        assumeTrue("benchmarks/clients.py asks", path != null)
        val asked = JSONObject(File(path!!).readText())
        val answers = JSONObject()
        for (model in asked.getJSONArray("models").strings()) {
            val file = ByteBuffer.wrap(File(model).readBytes())
            val pictures = asked.getJSONObject("pictures").getJSONArray(model).strings()
            val command = asked.getJSONArray("runtime").strings() + model
            Engine.opened(ModelDescription.read(file), PipedNetwork(command)).use { engine ->
                answers.put(model, JSONArray(pictures.map { told(engine.answer(picture(it))) }))
            }
        }
        File(asked.getString("answers")).writeText(answers.toString())
    }

    /** Width, height and pixels: what Android's unit tests can be compiled against reads no PNG. */
    private fun picture(path: String): Picture =
        DataInputStream(File(path).inputStream().buffered()).use { from ->
            val (width, height) = from.readInt() to from.readInt()
            Picture(width, height, IntArray(width * height) { from.readInt() })
        }

    private fun told(answer: Answer): JSONArray = JSONArray(
        when (answer) {
            is Answer.Labels -> answer.top.map { JSONArray(listOf(it.label, it.score)) }
            is Answer.Boxes -> answer.found.map {
                JSONArray(listOf(it.label, it.score, it.top, it.left, it.bottom, it.right))
            }
            is Answer.ClassMap -> listOf(answer.width, answer.height)
        },
    )

    private fun JSONArray.strings(): List<String> = List(length()) { getString(it) }
}
